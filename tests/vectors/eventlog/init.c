/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /init of the guest that make.sh boots: prints the event log of its boot and
 * the PCRs after it, both in hex, and switches off.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <unistd.h>

static void
print(const char *what, const char *path)
{
	unsigned char buf[4096];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	printf("\n%s ", what);
	while (fd >= 0 && (n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			printf("%02x", buf[i]);
	printf("\n");
}

int
main(void)
{
	char path[64], what[16], line[80];

	mount("none", "/dev", "devtmpfs", 0, NULL);
	mount("none", "/sys", "sysfs", 0, NULL);
	mount("none", "/sys/kernel/security", "securityfs", 0, NULL);
	freopen("/dev/ttyS0", "w", stdout);
	print("LOG", "/sys/kernel/security/tpm0/binary_bios_measurements");
	for (int i = 0; i < 24; i++) {
		FILE *f;

		snprintf(path, sizeof(path),
		    "/sys/class/tpm/tpm0/pcr-sha256/%d", i);
		snprintf(what, sizeof(what), "PCR%d", i);
		f = fopen(path, "r");
		if (f && fgets(line, sizeof(line), f))
			printf("%s %s", what, line);
		if (f)
			fclose(f);
	}
	printf("END\n");
	fflush(stdout);
	sleep(1);
	reboot(RB_POWER_OFF);
	return 0;
}
