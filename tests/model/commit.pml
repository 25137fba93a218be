/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who owns the container: the two sides of one migration from PREPARE to BYE, their guards,
 * `godwit recover` on both hosts, and somebody who asks both hosts when the source is in doubt.
 * docs/CORRECTNESS.md, "Model", says what is proven; ./run proves it, and that every mutation
 * (-DMUTATION_...) is caught.
 *
 * What may happen at any point: a message is lost, and with it all later ones of its direction (the
 * link is cut); a wait fails, for whatever reason (a timeout, a signal, an ABORT, CRIU's failure, the
 * end of the peer); a side is killed (kill -9); a guard or a recover is killed or never comes.
 * Messages are delivered in order and as late as anything.
 *
 * A comment "// function: step" names what the statement stands for in the file that the section is
 * named after, or one that goes with it (source_commit.c with source.c, say), less that prefix of the function;
 * ./run holds the list of these against the code.
 */

/* Steps of the journal, messages, and what the source knows of the owner. */
mtype:step = { none, prepared, frozen, committed, owner, drained }
mtype:msg = { PREPARE, PREPARED, RESTORED, COMMIT, RUNNING, DRAINED, BYE, ABORT }
mtype:side = { HERE, UNKNOWN, THERE }
/* The target's answers. */
mtype:answer = { unknown, undecided, draining, done, lost_there }
/* runc, CRIU and what they restore, on the target. */
mtype:restore = { idle, at_gate, running, gone }

chan to_target = [5] of { mtype:msg };
chan to_source = [5] of { mtype:msg };
bool cut_to_target, cut_to_source;

/* Of the source's host. */
mtype:step s_journal = none;
bool s_dead;    /* its process has ended, well or not */
bool s_guarded;
bool s_exists = true, s_frozen;	/* the container */
bool s_sends;   /* whoever is the source is connected to the target, which drains */
bool s_claimed; /* somebody settles the dead process's entry */

/* Of the target's host. */
mtype:step t_journal = none;
bool t_dead, t_guarded;
mtype:restore t_restore = idle;
bool t_yes;     /* the gate has been told to open */
bool t_all;     /* no page is missing any more */
bool t_door;    /* its process takes a source that comes again */
bool t_came;    /* one came */

/* Known to nobody: what has ever happened. */
bool told_running, has_run_there;

#define RUNS_HERE (s_exists && !s_frozen)
#define RUNS_THERE (t_restore == running)

inline send(queue, cut, what)
{
	if
	:: atomic { !cut -> queue!what }
	:: cut = true
	fi
}

/* Goes on when that comes, to failed when anything else does, and also whenever it likes. */
#define wait(queue, what, failed) \
	if \
	:: atomic { queue?got -> if :: got == what :: else -> goto failed fi } \
	:: goto failed \
	fi

/* Every connection is over; new ones begin empty. */
inline connect_anew()
{
	do
	:: to_target?_
	:: empty(to_target) -> break
	od;
	do
	:: to_source?_
	:: empty(to_source) -> break
	od;
	cut_to_target = false;
	cut_to_source = false
}

/* --- recover.c and guard.c -------------------------------------------------------------------- */

inline recover_target()
{
	if
	:: t_journal == owner                                   // recover_claimed: doubt owner
	:: t_journal == drained                                 // journal_claim leaves it alone
	:: t_journal == none
	:: else ->
		t_restore = gone;                               // recover_target: revoke
		if
		:: t_journal = none
		:: true
		fi
	fi
}

inline forget_source()
{
	if
	:: s_journal = none                                     // recover_entry: journal end
	:: true
	fi
}

inline delete_source()
{
	if
	:: s_exists = false;                                    // delete_source: revoke
		forget_source()
	:: true
	fi
}

/* --- answer.c --------------------------------------------------------------------------------- */

/* The agent there is a process of its own. It may not come to answer. */
inline ask(said)
{
	if
	:: t_journal == prepared && t_dead -> recover_target()
	:: else
	fi;
	atomic {
		if
		:: t_journal == drained && t_dead -> said = done // state_of_dead: if drained
		:: t_journal == owner && t_dead -> said = lost_there // state_of_dead: if owner
		:: t_journal == prepared -> said = undecided    // state_of: if prepared
		:: (t_journal == owner || t_journal == drained) && !t_dead -> said = draining
		:: t_journal == none -> said = unknown
		:: said = undecided
		fi
	}
}

inline bye_when_asked()
{
	if
	:: t_journal == drained -> t_journal = none             // take_bye: journal end
	:: true
	fi
}

/* --- settle.c --------------------------------------------------------------------------------- */

inline settle_committed(said, got)
{
	ask(said);                                              // settle: ask
	if
	:: said == unknown -> s_frozen = false; forget_source()
	:: said == draining && t_door && !t_dead ->
		t_came = true;
		if
		:: atomic { !t_came -> s_sends = true };        // settle: serve
			if
			:: atomic { to_source?got -> if :: got == DRAINED -> said = done :: else fi }
			:: true                                 /* the link breaks, or it is killed */
			fi
		:: true
		fi
	:: said == done -> s_journal = drained; bye_when_asked(); delete_source()
	:: else
	fi;
	if
	:: said == done && s_journal == committed ->
		s_journal = drained;                            // settle: journal drained
		send(to_target, cut_to_target, BYE);            // settle: send BYE
		delete_source()
	:: else
	fi
}

/* --- recover.c and guard.c -------------------------------------------------------------------- */

/* Only one at a time, and the source's process is dead. Any of it may be killed halfway. */
inline recover_source(said, got)
{
	atomic { !s_claimed -> s_claimed = true };
	if
	:: s_journal == committed ->                            // recover_claimed: doubt committed
		settle_committed(said, got)
#ifdef MUTATION_RECOVER_THAWS_COMMITTED
	:: s_journal == committed -> s_frozen = false; s_journal = none
#endif
	:: s_journal == none
	:: s_journal == drained ->                              // recover_claimed: if drained
		delete_source()
	// recover_claimed: if kept
	/* That is a checkpoint's, which has no other side. */
	:: else ->
		s_frozen = false;                               // recover_source: thaw
		forget_source()
	fi;
	/* Of no use any more, and so no reason for states of its own. */
	atomic { s_sends = false; said = undecided; got = PREPARE; s_claimed = false }
}

/* --- source.c --------------------------------------------------------------------------------- */

/* Undone from where it failed up. */
// stages: run_check undo_check
// stages: run_prepare undo_prepare
// stages: run_copy undo_copy
// stages: run_dump undo_dump
// stages: run_send undo_send
// stages: run_commit NULL
// stages: run_drain NULL
// stages: run_finish NULL

active proctype Source()
{
	mtype:side own = HERE;
	mtype:msg got = PREPARE;
	mtype:answer said = undecided;
	bool parted = false;

	{
		s_journal = prepared;                           // run_prepare: journal prepared
		s_guarded = true;                               // run_prepare: guard
		send(to_target, cut_to_target, PREPARE);        // send_prepare: send PREPARE
		wait(to_source, PREPARED, failed);              // run_prepare: wait PREPARED
		s_frozen = true;                                // run_dump: freeze
		s_journal = frozen;                             // run_dump: journal frozen
		/* Over a short link RESTORED is waited for here, over a long one only once it is committed. The
		 * former is less: it leaves out that COMMIT comes while the target restores. */
		if
		:: true
		:: goto failed
		fi;
#ifdef MUTATION_COMMIT_BEFORE_JOURNAL
		send(to_target, cut_to_target, COMMIT);
#endif
		s_journal = committed;                          // run_commit: journal committed
		own = UNKNOWN;                                  // run_commit: owner UNKNOWN
#ifndef MUTATION_COMMIT_BEFORE_JOURNAL
		send(to_target, cut_to_target, COMMIT);         // run_commit: send COMMIT
#endif
		wait(to_source, RESTORED, failed);              // wait_restored: wait RESTORED
		wait(to_source, RUNNING, failed);               // run_commit: wait RUNNING
		atomic { own = THERE; told_running = true; s_sends = true }; // run_commit: owner THERE
drains:
#ifndef MUTATION_DELETE_AT_RUNNING
		wait(to_source, DRAINED, asks);                 // wait_drained: wait DRAINED
#endif
told:
#ifndef MUTATION_BYE_BEFORE_JOURNAL
		if
		:: s_journal = drained                          // drain: journal drained
		:: goto deletes                                 /* it can't be written */
		fi;
#endif
		if
		:: said == done -> bye_when_asked(); said = undecided
		:: else ->
			send(to_target, cut_to_target, BYE);    // drain: send BYE
			wait(to_source, BYE, asks)              // drain: wait BYE
		fi;
		parted = true;
#ifdef MUTATION_BYE_BEFORE_JOURNAL
		s_journal = drained;
#endif
deletes:
		s_exists = false;                               // run_finish: delete
		s_journal = none;                               // run_finish: journal end
		if
		:: !parted ->
			send(to_target, cut_to_target, BYE);    // part_late: send BYE
			wait(to_source, BYE, ended)             // part_late: wait BYE
		:: parted
		fi;
		goto ended;
failed:
		if
		:: own == UNKNOWN && got == ABORT ->            // run_commit: if aborted
			own = HERE                              // run_commit: owner HERE
		:: own == UNKNOWN && got != ABORT -> goto asks  // run_commit: ask
		:: own == HERE
		:: own == THERE -> goto asks                    // reconnect_to_drain: ask
		fi;
		goto undoes;
asks:
		atomic { s_sends = false; got = PREPARE; said = undecided };
		ask(said);                                      // ask_who_owns: ask
		if
		:: said == unknown && own == UNKNOWN -> own = HERE // ask_who_owns: owner HERE
		:: said == draining && t_door && !t_dead ->
			t_came = true;
			if
			:: atomic { !t_came -> own = THERE; told_running = true; s_sends = true; said = undecided } // ask_who_owns: owner THERE
			:: goto asks
			fi;
			goto drains
		:: said == done ->
			own = THERE;
			goto told
		:: said != unknown -> goto asks
		:: s_journal == drained -> goto deletes         /* it can't be told good-bye */
		:: goto undoes                                  /* gives up */
		fi;
undoes:
		if
		:: own == HERE                                  // is_revocable: if HERE
#ifdef MUTATION_THAW_UNKNOWN
		:: own == UNKNOWN
#endif
		:: else -> goto ended
		fi;
		send(to_target, cut_to_target, ABORT);          // undo_send: send ABORT
		s_frozen = false;                               // undo_dump: thaw
		s_frozen = false;                               // undo_prepare: thaw
		s_journal = none;                               // undo_prepare: journal end
		send(to_target, cut_to_target, ABORT);          // undo_check: send ABORT
ended:
		s_dead = true
	} unless { s_dead }
}

/* --- target.c and restore.c ------------------------------------------------------------------- */

// stages: run_offer undo_offer
// stages: run_prepare undo_prepare
// stages: run_receive NULL
// stages: run_restore NULL
// stages: run_commit NULL
// stages: run_drain NULL
// stages: run_bye NULL

active proctype Target()
{
	mtype:msg got;
	bool own;

	{
		wait(to_target, PREPARE, ended);                // hear_prepare: wait PREPARE
		t_journal = prepared;                           // begin_journal: journal prepared
		t_guarded = true;                               // prepare_place: guard
		t_restore = at_gate;
		send(to_source, cut_to_source, PREPARED);       // run_prepare: send PREPARED
		if
		:: t_all = true                                 /* modes stop and pre */
		:: true                                         /* modes post and hybrid */
		:: goto failed
		fi;
		send(to_source, cut_to_source, RESTORED);       // run_restore: send RESTORED
#ifndef MUTATION_GATE_WITHOUT_COMMIT
		wait(to_target, COMMIT, failed);                // run_commit: wait COMMIT
#endif
#ifndef MUTATION_RUNNING_BEFORE_JOURNAL
		t_journal = owner;                              // run_commit: journal owner
#endif
		t_yes = true;                                   // run_commit: open gate
		if
		:: RUNS_THERE
		:: goto failed
		fi;
#ifndef MUTATION_TARGET_UNDOES_RUNNING
		own = true;                                     // run_commit: owner true
#endif
		send(to_source, cut_to_source, RUNNING);        // run_commit: send RUNNING
#ifdef MUTATION_RUNNING_BEFORE_JOURNAL
		t_journal = owner;
#endif
		t_door = true;                                  // run_drain: open door
drains:
		if
		:: t_all || s_sends -> t_all = true
		:: goto waits
		:: goto failed                                  /* an error of this host */
		fi;
#ifndef MUTATION_FORGETS_DRAINED
		t_journal = drained;                            // drain: journal drained
#else
		t_journal = none;
#endif
		send(to_source, cut_to_source, DRAINED);        // send_drained: send DRAINED
		wait(to_target, BYE, waits);                    // drain: wait BYE
		t_journal = none;                               // run_bye: journal end
		send(to_source, cut_to_source, BYE);            // run_bye: send BYE
		goto ended;
waits:
end_waits:	if
		:: atomic { t_came -> connect_anew(); t_came = false }; goto drains // drain_again: comes again
		:: t_all -> t_journal = drained; goto ended     // drain_again: journal drained
		fi;
failed:
		if
		:: own ->                                       // is_revocable: if not owner
			/* The keeper holds the memory, and starts another process until all of it is
			 * there or the container ends; that isn't modelled. */
			// replace: open door
			// over: journal drained
end_holding:            false
		:: else
		fi;
#ifdef MUTATION_ABORT_BEFORE_KILL
		send(to_source, cut_to_source, ABORT);
#endif
		t_restore = gone;                               // undo_prepare: revoke
		t_journal = none;                               // undo_prepare: journal end
#ifndef MUTATION_ABORT_BEFORE_KILL
		send(to_source, cut_to_source, ABORT);          // undo_offer: send ABORT
#endif
ended:
		t_dead = true
	} unless { t_dead }
}

/* The keeper outlives the target's process. It is told just before the yes that there may be one; not told,
 * it knows that there was none. It may be killed as well. */
active proctype Keeper()
{
	if
	:: atomic { t_dead && t_journal == owner && !t_yes -> t_journal = prepared } // never: journal prepared
	:: true
	fi
}

/* From the gate on. With the target's process dead and no yes, CRIU takes it for a no; after a yes it
 * may come to let the container go before it dies as well. */
active proctype Restore()
{
end:
	do
	:: atomic { t_restore == at_gate && t_yes -> t_restore = running; has_run_there = true }
	:: atomic { t_restore == at_gate && t_dead -> t_restore = gone }
	od
}

active proctype SourceGuard()
{
	mtype:answer said = undecided;
	mtype:msg got = PREPARE;

	if
	:: s_guarded && s_dead -> recover_source(said, got)
	:: true
	fi
}

active proctype TargetGuard()
{
	if
	:: t_guarded && t_dead -> recover_target()
	:: true
	fi
}

/* `godwit recover` on either host, as often as there is something to settle. */
active proctype Recover()
{
	mtype:answer said = undecided;
	mtype:msg got = PREPARE;

end:
	do
	:: s_dead && s_journal != none && !s_claimed -> recover_source(said, got)
	:: t_dead && t_journal == prepared -> recover_target()
	od
}

/* --- those who look ---------------------------------------------------------------------------- */

/* The target's process died as the owner: a person sees whether it runs there. */
active proctype Look()
{
end:
	do
	:: atomic { s_dead && s_journal == committed && !s_claimed && t_dead && t_journal == owner &&
			t_restore != at_gate && !RUNS_THERE -> s_claimed = true };
		s_frozen = false;
		s_journal = none;
		s_claimed = false
#ifdef MUTATION_LOOKS_TOO_EARLY
	:: s_dead && s_journal == committed && !RUNS_THERE ->
		s_frozen = false;
		s_journal = none
#endif
	od
}

/* --- what may happen, and what must not ------------------------------------------------------- */

active proctype Kill()
{
	do
	:: s_dead = true
	:: t_dead = true
	:: break
	od
}

/* By its name ./run tells what was violated. */
#define never(what, name) atomic { what -> name = true; assert(!name) }
bool two_owners, returned, lost, stuck, discarded;

active proctype Watch()
{
end:
	if
	:: never(RUNS_HERE && RUNS_THERE, two_owners)
	:: never(RUNS_HERE && told_running, returned)
	:: never(!s_exists && !(RUNS_THERE && t_all), lost)
	/* Nothing can happen any more, and it runs nowhere. */
	:: never(timeout && !RUNS_HERE && !RUNS_THERE, stuck)
#ifdef GAP_DISCARDED_RUN
	:: never(RUNS_HERE && has_run_there, discarded)
#endif
	fi
}
