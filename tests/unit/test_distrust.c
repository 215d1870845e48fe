/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/distrust.h"
#include "tests/test.h"

TEST(where_papers_are_demanded_a_host_without_any_is_refused)
{
	struct ly_agent a = { .demand = false };
	struct ly_peer p = { .id = "spiffe://east/host/h" };
	struct ly_why why = { "" };

	WANT_INT(ly_distrust_peer(&a, &p, &why), LY_OK);
	a.demand = true;
	WANT_INT(ly_distrust_peer(&a, &p, &why), LY_REFUSED);
	WANT(strstr(why.text, "spiffe://east/host/h is not enrolled"));
	p.attested = true;
	WANT_INT(ly_distrust_peer(&a, &p, &why), LY_OK);
}

TEST_MAIN()
