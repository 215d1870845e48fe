/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/tpm/limit.h"

#include "lib/base/base.h"

#define MEDIUM_MS 750
#define LONG_MS 2000

/* Creating keys and all that is not here may take minutes. Firmware waits
 * 750 ms for what it sends; of that, Linux gives some 2 s or more. */
static const struct {
	uint32_t code, ms;
} limits[] = {
	{ 0x121, MEDIUM_MS }, /* HierarchyControl */
	{ 0x129, MEDIUM_MS }, /* HierarchyChangeAuth */
	{ 0x13e, MEDIUM_MS }, /* SequenceComplete */
	{ 0x143, LONG_MS },   /* SelfTest */
	{ 0x144, MEDIUM_MS }, /* Startup */
	{ 0x146, MEDIUM_MS }, /* StirRandom */
	{ 0x14e, LONG_MS },   /* NV_Read */
	{ 0x17a, MEDIUM_MS }, /* GetCapability */
	{ 0x17b, LONG_MS },   /* GetRandom */
	{ 0x182, MEDIUM_MS }, /* PCR_Extend */
	{ 0x185, MEDIUM_MS }, /* EventSequenceComplete */
	{ 0x186, MEDIUM_MS }, /* HashSequenceStart */
};

uint32_t
ly_tpm_limit_ms(uint32_t code)
{
	for (size_t i = 0; i < LY_COUNT(limits); i++)
		if (limits[i].code == code)
			return limits[i].ms;
	return 0;
}
