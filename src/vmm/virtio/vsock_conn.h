/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the vsock device: what its two halves, packets and queues (vsock.c) and
 * connections (vsock_conn.c), know of each other.
 */
#ifndef KILN_VMM_VSOCK_CONN_H
#define KILN_VMM_VSOCK_CONN_H

#include "list.h"
#include "vsock.h"
#include "vsock_packet.h"

#include <stdbool.h>

#define KILN__VSOCK_BUCKETS   256
#define KILN__VSOCK_MAX_CONNS 1024
/* Of those, the ones that the guest has made: however many it wants, the host can connect. */
#define KILN__VSOCK_MAX_GUEST_CONNS 768

#define KILN__VSOCK_MAX_RESETS 128
#define KILN__VSOCK_CHUNK      ((size_t)64 * 1024)

/*
 * What the guest may have under way to us that we have not consumed, all
 * connections together and each. A connection's share is a part of what is left, so
 * that many get less and the sum is bounded by BUDGET + MAX_CONNS * SHARE_MIN.
 */
#define KILN__VSOCK_BUDGET    ((uint32_t)64 << 20)
#define KILN__VSOCK_SHARE_MAX ((uint32_t)256 << 10)
#define KILN__VSOCK_SHARE_MIN ((uint32_t)16 << 10)

/* How long a closed connection waits for the guest's RST (as Linux does for ours), a new one for
 * its answer. */
#define KILN__VSOCK_CLOSE_MS   8000
#define KILN__VSOCK_CONNECT_MS 10000

enum kiln__vsock_state {
	KILN__VSOCK_CONNECTING, /* we asked the guest */
	KILN__VSOCK_ACCEPTING,  /* the guest asked us, and we ask our user */
	KILN__VSOCK_OPEN,
	KILN__VSOCK_CLOSING,  /* the user has closed; waits for the guest's RST */
	KILN__VSOCK_FINISHED, /* no longer known to the guest; what is held may still be consumed */
};

struct kiln__vsock_conn {
	struct kiln__stream stream; /* first: it is what users hold */
	struct kiln__vsock *vsock;  /* NULL once the device has been freed */
	struct kiln__vsock_conn *hash_next;
	struct kiln__list all;     /* in vsock->conns */
	struct kiln__list sending; /* in vsock->senders while control packets wait for a buffer */
	struct kiln__list writing; /* in vsock->writers while the user waits for a buffer */
	enum kiln__vsock_state state;
	bool of_guest; /* the guest has made it */
	uint32_t local_port;
	uint32_t peer_port;
	uint64_t deadline; /* of CONNECTING and CLOSING, in ms of the loop's clock; 0: none */
	unsigned pending;  /* control packets to send: 1 << op */

	/* The host sends (5.10.6.3). Counts are of bytes and wrap. */
	uint32_t tx_cnt;
	uint32_t peer_buf_alloc;
	uint32_t peer_fwd_cnt;
	bool credit_asked; /* CREDIT_REQUEST is out */
	bool want_write;   /* on_writable is due when there is room */

	/* The guest sends. */
	uint32_t buf_alloc;
	uint32_t rx_cnt;
	uint32_t fwd_cnt;
	uint32_t told_fwd_cnt; /* as the guest knows it */
	unsigned char *held;   /* received, not consumed: held[held_at .. held_end) */
	size_t held_at;
	size_t held_end;
	size_t held_cap;

	unsigned local_shutdown; /* KILN__VSOCK_NO_... of ours and theirs */
	unsigned peer_shutdown;

	/* The user. */
	kiln__vsock_connected_fn connected; /* NULL once called */
	void *connected_data;
	int failure; /* code for on_error; 0: none */
	const char *failure_text;
	bool started; /* resumed once: handlers may be called */
	bool paused;
	bool delivering; /* on_data is on the stack */
	bool resumed;    /* resume was called in on_data */
	bool eof_told;
	bool failure_told;
	bool user_gone;
	unsigned calls; /* callbacks on the stack */
};

/* A RST to somebody who has no connection with us. */
struct kiln__vsock_reset {
	uint64_t cid; /* ours, as the guest addressed it */
	uint32_t local_port;
	uint32_t peer_port;
	uint16_t type;
};

struct kiln__vsock {
	struct kiln__virtio virtio; /* first: it is what transports hold */
	kiln_loop *loop;
	uint64_t guest_cid;
	uint64_t seed; /* of the hash */
	kiln__vsock_accept_fn accept;
	void *accept_data;

	struct kiln__vsock_conn *buckets[KILN__VSOCK_BUCKETS];
	struct kiln__list conns;
	struct kiln__list senders;
	struct kiln__list writers;
	unsigned conn_count;
	unsigned guest_count;  /* of them, those that the guest has made */
	uint32_t credit_given; /* sum of all buf_alloc */
	uint32_t next_port;

	struct kiln__vsock_reset resets[KILN__VSOCK_MAX_RESETS]; /* a ring */
	unsigned reset_at;
	unsigned reset_count;

	bool driver_seen;      /* both data queues have been ready since the last reset */
	bool starved;          /* no receive buffer: the driver will kick */
	bool tx_stalled;       /* replies are full: goes on when receive buffers come */
	bool event_due;        /* a transport reset event waits for a buffer */
	unsigned char *bounce; /* one chunk of payload; allocated with the first */
	struct kiln__deferred
		*deferred;         /* the rest of a long tx queue; the end of a broken device */
	struct kiln__timer *timer; /* armed for the earliest deadline */
	uint64_t timer_at;
	unsigned deadlines; /* connections that have one */
};

/* --- vsock.c ------------------------------------------------------------------ */

/*
 * Sends one packet of a connection, with up to @len bytes of payload as fit the next
 * receive buffer. Returns the payload's length sent, or -1 if there is no buffer
 * (the device's flush then comes back to senders and writers).
 */
ssize_t kiln__vsock_send(struct kiln__vsock *vsock, struct kiln__vsock_conn *conn,
			 enum kiln__vsock_op op, uint32_t flags, const void *bytes, size_t len);

/* (Re)arms the timer for a connection's new deadline, @ms from now. */
void kiln__vsock_set_deadline(struct kiln__vsock_conn *conn, uint64_t ms);
void kiln__vsock_clear_deadline(struct kiln__vsock_conn *conn);

/* --- vsock_conn.c --------------------------------------------------------------- */

struct kiln__vsock_conn *kiln__vsock_conn_find(struct kiln__vsock *vsock, uint32_t local_port,
					       uint32_t peer_port);

/* A new connection, in the table; NULL if there are too many or no memory. */
struct kiln__vsock_conn *kiln__vsock_conn_new(struct kiln__vsock *vsock, uint32_t local_port,
					      uint32_t peer_port, enum kiln__vsock_state state);

/* Hands a new connection that the guest asked for to the device's accept callback. */
void kiln__vsock_conn_offer(struct kiln__vsock_conn *conn);

/* Handles a packet (in host byte order) other than REQUEST; @chain has its payload after the
 * header. */
void kiln__vsock_conn_packet(struct kiln__vsock_conn *conn, const struct kiln__vsock_header *header,
			     const struct kiln__chain *chain);

/* Sends the control packets that wait; false if buffers ran out. May free the connection. */
bool kiln__vsock_conn_flush(struct kiln__vsock_conn *conn);

/* Tells the user that there is room to write. May free the connection. */
void kiln__vsock_conn_writable(struct kiln__vsock_conn *conn);

/* Its deadline has passed. May free the connection. */
void kiln__vsock_conn_expired(struct kiln__vsock_conn *conn);

/* Ends a connection that breaks the rules: RST to the guest, on_error to the user. */
void kiln__vsock_conn_abort(struct kiln__vsock_conn *conn, int code, const char *text);

/* Ends all connections without a packet: their other side is gone. */
void kiln__vsock_conn_end_all(struct kiln__vsock *vsock, int code, const char *text);

#endif
