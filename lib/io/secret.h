/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for keys: pages of their own that are not swapped out and in no core
 * dump, and are zeros again before they are given back. Where the limit for
 * locked memory is reached they are there all the same, and the log says once
 * that they may be swapped.
 */
#ifndef LY_IO_SECRET_H
#define LY_IO_SECRET_H

#include "lib/base/base.h"

/* Zeroed; never NULL (aborts). */
void *ly_secret_new(size_t len);
/* `len` as it was asked for. NULL is nothing. */
void ly_secret_free(void *secret, size_t len);

/* For a daemon, at its start: nobody but root may read its memory, and there is
 * no core of it. */
void ly_secret_begin(void);

#endif
