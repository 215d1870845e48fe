/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/io/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

enum ly_rc
ly_address_split(const char *address, char host[LY_ADDR_MAX], char port[6],
    struct ly_why *why)
{
	const char *colon = strrchr(address, ':');
	size_t n = colon ? (size_t)(colon - address) : 0;
	const char *from = address;
	uint64_t number;

	if (n >= 2 && address[0] == '[' && address[n - 1] == ']') {
		from++;
		n -= 2;
	} else if (memchr(address, ':', n)) {
		return ly_fail(why, LY_REFUSED,
		    "%.80s: an IPv6 address goes in brackets, [::1]:7000",
		    address);
	}
	if (n == 0 || n >= LY_ADDR_MAX || strlen(colon + 1) > 5 ||
	    ly_parse_uint(colon + 1, 65535, &number) != LY_OK)
		return ly_fail(why, LY_REFUSED, "%.80s: not host:port",
		    address);
	memcpy(host, from, n);
	host[n] = '\0';
	ly_copy(port, 6, colon + 1);
	if (strpbrk(host, " \t[]/"))
		return ly_fail(why, LY_REFUSED, "%.80s: not host:port",
		    address);
	return LY_OK;
}

enum ly_rc
ly_address_numeric(const char *host, const char *port,
    struct sockaddr_storage *out)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	uint64_t number;

	if (ly_parse_uint(port, 65535, &number) != LY_OK)
		return LY_UNKNOWN;
	memset(out, 0, sizeof(*out));
	v4.sin_port = v6.sin6_port = htons((uint16_t)number);
	if (inet_pton(AF_INET, host, &v4.sin_addr) == 1)
		memcpy(out, &v4, sizeof(v4));
	else if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1)
		memcpy(out, &v6, sizeof(v6));
	else
		return LY_UNKNOWN;
	return LY_OK;
}

void
ly_address_text(const struct sockaddr *sa, char out[LY_ADDR_MAX])
{
	char ip[INET6_ADDRSTRLEN] = "";
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (sa->sa_family == AF_INET) {
		memcpy(&v4, sa, sizeof(v4));
		inet_ntop(AF_INET, &v4.sin_addr, ip, sizeof(ip));
		ly_print(out, LY_ADDR_MAX, "%s:%u", ip, ntohs(v4.sin_port));
	} else if (sa->sa_family == AF_INET6) {
		memcpy(&v6, sa, sizeof(v6));
		inet_ntop(AF_INET6, &v6.sin6_addr, ip, sizeof(ip));
		ly_print(out, LY_ADDR_MAX, "[%s]:%u", ip, ntohs(v6.sin6_port));
	} else {
		ly_copy(out, LY_ADDR_MAX, "?");
	}
}
