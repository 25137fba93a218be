/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The points at which a build for tests can be made to fail, in the order in which a migration comes to
 * them: FAULT_POINT(name, kinds), read by fault.h, fault.c and, through the preprocessor,
 * tests/faults/run. The name says on which side. The kinds are those of the matrix:
 *
 *   kill    the process at this point, by SIGKILL
 *   error   what was done here failed
 *   clock   the process's wall clock is a day off from here on
 *   memory  it gets no more memory for two seconds
 *   disk    its journal's disk and its place for images are full until the command has ended
 *   cut     every connection between the hosts is reset
 *   silent  nothing passes between them, and nobody is told
 *   runc, criu, keeper, guard, other   that process is killed; the other side's
 *
 * Other threads don't stand still at the points page_sent, page_came and fault_came, nor does CRIU after
 * journal_frozen and cut, where it dumps: what would be at work when it is killed there isn't known.
 *
 * After the commit the target's keeper is what has the container's memory, and may not be killed
 * (docs/CORRECTNESS.md, "If the descriptors were closed").
 */
#define OWN "kill clock memory disk "
#define FAILS OWN "error "
#define LINK "cut silent "
#define CRIU "runc criu guard "

/* Neither side has done anything yet. */
FAULT_POINT(source_connected, FAILS LINK)
FAULT_POINT(target_greeted, FAILS LINK)
FAULT_POINT(target_offered, FAILS LINK)
FAULT_POINT(target_judged, FAILS LINK)
FAULT_POINT(source_judged, FAILS LINK)

FAULT_POINT(source_journal_prepared, FAILS LINK)
FAULT_POINT(source_guarded, FAILS LINK "guard ")
FAULT_POINT(source_dump_started, FAILS LINK CRIU)
FAULT_POINT(source_prepare_sent, FAILS LINK CRIU "other ")
FAULT_POINT(target_prepare_came, FAILS LINK)
FAULT_POINT(target_journal_prepared, FAILS LINK)
FAULT_POINT(target_keeper_started, FAILS LINK "keeper ")
FAULT_POINT(target_guarded, FAILS LINK "keeper guard ")
FAULT_POINT(target_restore_started, FAILS LINK CRIU "keeper other ")
FAULT_POINT(target_channels_open, FAILS LINK CRIU "keeper ")
FAULT_POINT(target_prepared, FAILS LINK CRIU "keeper ")
FAULT_POINT(source_prepared, FAILS LINK CRIU "other ")

FAULT_POINT(source_looked, FAILS LINK CRIU "other ")
FAULT_POINT(source_page_sent, FAILS LINK "guard other ")
FAULT_POINT(target_page_came, FAILS LINK "guard keeper other ")
FAULT_POINT(keeper_page_put, "kill disk error ")
FAULT_POINT(source_copied, FAILS LINK CRIU "other ")

FAULT_POINT(source_held, FAILS LINK CRIU "other ")
FAULT_POINT(source_frozen, FAILS LINK CRIU "other ")
FAULT_POINT(source_journal_frozen, FAILS LINK "runc guard other ")
FAULT_POINT(source_cut, FAILS LINK "runc guard other ")
FAULT_POINT(source_dumped, FAILS LINK CRIU "other ")
FAULT_POINT(source_released, FAILS LINK CRIU "other ")
FAULT_POINT(source_image_sent, FAILS LINK CRIU "other ")
FAULT_POINT(target_image_came, FAILS LINK CRIU "keeper other ")
FAULT_POINT(source_images_sent, FAILS LINK CRIU "other ")
FAULT_POINT(target_images_came, FAILS LINK CRIU "keeper other ")
FAULT_POINT(target_expected, FAILS LINK CRIU "keeper other ")
FAULT_POINT(target_address_added, FAILS LINK CRIU "keeper other ")
FAULT_POINT(target_fed, FAILS LINK "runc guard keeper other ")
FAULT_POINT(keeper_view_came, "kill disk error ")
FAULT_POINT(target_at_gate, FAILS LINK CRIU "keeper other ")
FAULT_POINT(target_restored, FAILS LINK CRIU "keeper other ")
FAULT_POINT(source_restored, FAILS LINK CRIU "other ")

/* The hand-over. */
FAULT_POINT(source_journal_committed, FAILS LINK CRIU "other ")
FAULT_POINT(source_commit_sent, FAILS LINK CRIU "other ")
FAULT_POINT(target_commit_came, FAILS LINK CRIU "keeper other ")
FAULT_POINT(target_journal_owner, FAILS LINK CRIU "other ")
FAULT_POINT(target_shown, FAILS LINK CRIU "other ")
FAULT_POINT(target_owns, FAILS LINK "guard other ")

/* It runs on the target. */
FAULT_POINT(target_gate_open, OWN LINK "guard other ")
FAULT_POINT(target_running, OWN LINK "guard other ")
FAULT_POINT(source_running, FAILS LINK CRIU "other ")
FAULT_POINT(source_fault_came, FAILS LINK "guard other ")
FAULT_POINT(target_wish, FAILS LINK "guard other ")
FAULT_POINT(target_restore_ended, FAILS LINK "guard other ")
FAULT_POINT(target_all_in, FAILS LINK "guard other ")
FAULT_POINT(target_settled, FAILS LINK "guard other ")
FAULT_POINT(target_journal_drained, FAILS LINK "guard keeper other ")
FAULT_POINT(target_drained, FAILS LINK "guard keeper other ")
FAULT_POINT(source_drained, FAILS LINK CRIU "other ")
FAULT_POINT(source_journal_drained, FAILS LINK CRIU "other ")
FAULT_POINT(target_bye_came, FAILS LINK "guard keeper ")
FAULT_POINT(target_journal_ended, FAILS LINK "guard ")
FAULT_POINT(source_bye_came, FAILS LINK CRIU)
FAULT_POINT(source_deleted, FAILS "guard ")

#undef OWN
#undef FAILS
#undef LINK
#undef CRIU
