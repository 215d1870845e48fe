/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few things every room wants: counting, ownership inside one call, and
 * the attribute that makes an ignored error a compiler warning.
 */
#ifndef LY_BASE_BASE_H
#define LY_BASE_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LY_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LY_MUST __attribute__((warn_unused_result))
#define LY_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define LY_UNUSED __attribute__((unused))

/* The struct that embeds `member` at `ptr`. */
#define LY_HOLDER(ptr, type, member)                                           \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/*
 * LY_AUTO(SSL_CTX_free) SSL_CTX *ctx = ...;   freed at the end of the scope,
 * *out = ly_take(ctx);                        unless taken.
 *
 * A file that uses LY_AUTO(fn) writes LY_AUTO_FOR(fn, type) once before.
 */
#define LY_AUTO(fn) __attribute__((cleanup(ly_auto_##fn)))
#define LY_AUTO_FOR(fn, type)                                                  \
	static inline LY_UNUSED void ly_auto_##fn(type **p)                    \
	{                                                                      \
		if (*p)                                                        \
			fn(*p);                                                \
	}
#define ly_take(ptr)                                                           \
	({                                                                     \
		__typeof__(ptr) taken_ = (ptr);                                \
		(ptr) = NULL;                                                  \
		taken_;                                                        \
	})

static inline size_t
ly_min(size_t a, size_t b)
{
	return a < b ? a : b;
}

static inline size_t
ly_max(size_t a, size_t b)
{
	return a > b ? a : b;
}

#endif
