/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How pages travel: zero pages as a count, others raw or compressed by zstd, whichever is sooner
 * at the other side. What that is depends on the data, the processor and the link, so it is
 * measured all the time and never assumed.
 */

#define CODEC_CHUNK_PAGES 64 /* the most in one encoding; 256 KiB stay in a core's cache */

enum codec_encoding {
	CODEC_RAW = 0,
	CODEC_ZSTD = 1,
};

/* A compressor with its measurements; one thread at a time. */
struct codec;

/* NULL when there is no memory. */
struct codec *codec_new(void);
/* What is known of the link, in bytes per second: stands instead of what codec_sent() measures, and when it is
 * said for the first time compressing is tried at once. */
void codec_expect(struct codec *c, double link_rate);
void codec_free(struct codec *c);

/*
 * Encodes @len bytes (1..256 KiB). *ret_data is either @src or the codec's own buffer, valid
 * until the next call.
 */
enum codec_encoding codec_encode(
	struct codec *c, const void *src, size_t len, const void **ret_data, size_t *ret_len);

/* Tells how long sending @len bytes took: the link's part of the decision. It is too good a word for a link as long
 * as there is room in sockets. */
void codec_sent(struct codec *c, size_t len, uint64_t ns);

/* The decision: bytes per second of the link and of the compressor, and compressed size / size.
 * What isn't measured yet (0) doesn't pay. */
bool codec_pays(double link_rate, double compress_rate, double ratio);

/* Next to the link's time compressing takes next to none: worth a try whatever the last chunks were like. */
bool codec_is_cheap(double link_rate, double compress_rate);

/* Decodes into exactly @size bytes of @dst; -EBADMSG when @src isn't just that. */
int codec_decode(enum codec_encoding encoding, const void *src, size_t len, void *dst, size_t size);

/* How many pages from the first on are alike in being all zero or not; *ret_zero says which. */
uint32_t codec_run(const void *pages, uint32_t n, bool *ret_zero);
