/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/codec.h"

#include "base/clock.h"
#include "base/ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define CHUNK_BYTES PAGES_TO_BYTES(CODEC_CHUNK_PAGES)
#define LEVEL 1		 /* the fastest that still finds matches well */
#define PROBE_INTERVAL 64 /* chunks between two looks at the choice not taken */
#define FIRST_PROBE 8	 /* chunks: the link is known a little by then */
#define WEIGHT 0.125	 /* of a new measurement in its moving average */
#define MARGIN 0.8	 /* compression costs the other side time as well */
#define CHEAP 8		 /* times the link's rate: no loss then, whatever the next chunk is like */

struct codec {
	ZSTD_CCtx *zstd;
	uint8_t *out;
	size_t out_cap;
	double known_rate; /* of the link, or 0 */
	double link_rate, compress_rate, ratio; /* 0: not measured yet */
	unsigned since_probe;
};

struct codec *codec_new(void)
{
	struct codec *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->since_probe = PROBE_INTERVAL - FIRST_PROBE;
	c->out_cap = ZSTD_compressBound(CHUNK_BYTES);
	c->out = malloc(c->out_cap);
	c->zstd = ZSTD_createCCtx();
	if (!c->out || !c->zstd) {
		codec_free(c);
		return NULL;
	}
	return c;
}

void codec_expect(struct codec *c, double link_rate)
{
	if (c->known_rate <= 0)
		c->since_probe = PROBE_INTERVAL;
	c->known_rate = link_rate;
}

void codec_free(struct codec *c)
{
	if (!c)
		return;
	ZSTD_freeCCtx(c->zstd);
	free(c->out);
	free(c);
}

static void average(double *into, double value)
{
	*into = *into == 0 ? value : *into + WEIGHT * (value - *into);
}

bool codec_pays(double link_rate, double compress_rate, double ratio)
{
	if (link_rate <= 0 || compress_rate <= 0)
		return false;
	return 1 / compress_rate + ratio / link_rate < MARGIN / link_rate;
}

bool codec_is_cheap(double link_rate, double compress_rate)
{
	return link_rate > 0 && compress_rate > CHEAP * link_rate;
}

static bool try_zstd(struct codec *c)
{
	double link = c->known_rate > 0 ? c->known_rate : c->link_rate;

	if (++c->since_probe >= PROBE_INTERVAL) {
		c->since_probe = 0;
		return true;
	}
	return codec_is_cheap(link, c->compress_rate) || codec_pays(link, c->compress_rate, c->ratio);
}

enum codec_encoding codec_encode(
	struct codec *c, const void *src, size_t len, const void **ret_data, size_t *ret_len)
{
	uint64_t start, took;
	size_t n;

	*ret_data = src;
	*ret_len = len;
	if (!try_zstd(c))
		return CODEC_RAW;
	start = clock_now();
	n = ZSTD_compressCCtx(c->zstd, c->out, c->out_cap, src, len, LEVEL);
	took = clock_now() - start;
	if (ZSTD_isError(n))
		return CODEC_RAW;
	average(&c->compress_rate, (double)len * NSEC_PER_SEC / (double)(took ? took : 1));
	average(&c->ratio, (double)n / (double)len);
	if (n >= len)
		return CODEC_RAW;
	*ret_data = c->out;
	*ret_len = n;
	return CODEC_ZSTD;
}

void codec_sent(struct codec *c, size_t len, uint64_t ns)
{
	average(&c->link_rate, (double)len * NSEC_PER_SEC / (double)(ns ? ns : 1));
}

int codec_decode(enum codec_encoding encoding, const void *src, size_t len, void *dst, size_t size)
{
	size_t n;

	switch (encoding) {
	case CODEC_RAW:
		if (len != size)
			return -EBADMSG;
		memcpy(dst, src, size);
		return 0;
	case CODEC_ZSTD:
		n = ZSTD_decompress(dst, size, src, len);
		return ZSTD_isError(n) || n != size ? -EBADMSG : 0;
	}
	return -EBADMSG;
}

static bool page_is_zero(const uint8_t *page)
{
	uint64_t first;

	memcpy(&first, page, sizeof(first));
	/* Overlapping compare: all bytes equal their successor, and the first ones are zero. */
	return first == 0 && memcmp(page, page + sizeof(first), PAGE_BYTES - sizeof(first)) == 0;
}

uint32_t codec_run(const void *pages, uint32_t n, bool *ret_zero)
{
	const uint8_t *p = pages;
	uint32_t run = 1;

	*ret_zero = page_is_zero(p);
	while (run < n && page_is_zero(p + PAGES_TO_BYTES(run)) == *ret_zero)
		run++;
	return run;
}
