/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/child.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A stream of bytes to a peer: TLS 1.3 over a socket, or a pair of descriptors that somebody else
 * protects (ssh's standard input and output, a socketpair in tests). Who uses one never asks which.
 *
 * One thread at a time. Errors of the peer (it hung up, it broke TLS) are of class ERR_PEER.
 */

#define FINGERPRINT_LEN 32 /* SHA-256 of a public key in SubjectPublicKeyInfo form */

struct identity; /* wire/identity.h */
struct lane;	 /* wire/lane.h */
struct proof;	 /* wire/proof.h */
struct transport;

/* May the peer with this key talk to us? */
typedef bool transport_trust_fn(const uint8_t fingerprint[static FINGERPRINT_LEN], void *ctx);

/* Hands over @fd, also on failure. The handshake is a step of its own: until then no byte of the peer has
 * been read. @proof: gets what shows others that it has been; NULL: nobody needs that. */
int transport_tls_server(int fd, const struct identity *self, transport_trust_fn *trust, void *ctx,
	struct proof *proof, struct transport **ret, struct err *e);
int transport_tls_client(int fd, const struct identity *self, transport_trust_fn *trust, void *ctx,
	struct proof *proof, struct transport **ret, struct err *e);
int transport_handshake(struct transport *t, uint64_t deadline, struct err *e);

/* Hands over both descriptors, which may be the same, also on failure. */
int transport_plain(int in, int out, struct transport **ret, struct err *e);

/* To a process of ours that stands between us and the peer: @carrier ends with the transport, after what
 * has been written has left it. @wire: the connection itself, to ask the kernel about; -1: nobody will. @lane: what is
 * written goes as records of that (wire/lane.h); NULL: as it is. Hands over all, also on failure. */
int transport_carried(int fd, int wire, struct lane *lane, struct child *carrier, struct transport **ret,
	struct err *e);
/* Its pid; 0: there is none. */
pid_t transport_carrier(const struct transport *t);
/* The peer's key, as that has found it. */
void transport_vouch(struct transport *t, const uint8_t fingerprint[static FINGERPRINT_LEN]);

/* Closes without ceremony. NULL is fine. */
void transport_free(struct transport *t);

/* The peer's key; false when the transport has none (plain, and nobody vouches for it). */
bool transport_fingerprint(const struct transport *t, uint8_t ret[static FINGERPRINT_LEN]);

/* Exactly @len bytes. */
int transport_read(struct transport *t, void *buf, size_t len, uint64_t deadline, struct err *e);

/* @head and @data one after the other; @data may be NULL. */
int transport_write(struct transport *t, const void *head, size_t head_len, const void *data,
	size_t data_len, uint64_t deadline, struct err *e);

/* Bytes that have been read already and wait inside: poll(2) doesn't know of them. */
bool transport_pending(const struct transport *t);

/* Ends whatever another thread, or the process in between, waits for here: the connection is of no use from
 * now on. Of plain descriptors only sockets can be cut. */
void transport_cut(struct transport *t);

/* To poll for input. */
int transport_fd(const struct transport *t);

/* What may be a TCP socket, for what the kernel knows of it (kernel/tcp.h). */
int transport_wire(const struct transport *t);

/* Is nothing of what was written left for the process in between to take? */
bool transport_is_taken(const struct transport *t);

/* Bytes of payload written so far; for another thread's report a value of lately will do. */
uint64_t transport_written(const struct transport *t);

/* A listener is told with 24 clear bytes before TLS where a connection belongs: "GODWIT01" and 16
 * bytes, zeros for a new migration, else its token. They route and grant nothing. */
#define PREAMBLE_LEN 24
#define ROUTE_LEN 16
void preamble_put(uint8_t ret[static PREAMBLE_LEN], const uint8_t route[static ROUTE_LEN]);
/* -EPROTO when it isn't one. */
int preamble_get(const uint8_t p[static PREAMBLE_LEN], uint8_t ret_route[static ROUTE_LEN]);
