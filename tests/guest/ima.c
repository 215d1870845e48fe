/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/guest/ima.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH "/program"
#define COUNT "/sys/kernel/security/ima/runtime_measurements_count"
#define BASE 0x400000

/* An x86-64 program that calls exit(0); `number` is never read. */
struct program {
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	uint8_t code[16];
	uint64_t number;
};

static const struct program template = {
	.eh = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
		    ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = BASE + offsetof(struct program, code),
		.e_phoff = offsetof(struct program, ph),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1,
	},
	.ph = {
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_X,
		.p_vaddr = BASE,
		.p_filesz = sizeof(struct program),
		.p_memsz = sizeof(struct program),
		.p_align = 0x1000,
	},
	.code = { 0x31, 0xff,				/* xor edi, edi */
	    0xb8, 60, 0, 0, 0,				/* mov eax, exit */
	    0x0f, 0x05 },				/* syscall */
};

static bool
write_program(uint64_t number)
{
	struct program p = template;
	int fd = open(PATH, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	bool good;

	if (fd < 0)
		return false;
	p.number = number;
	good = write(fd, &p, sizeof(p)) == sizeof(p);
	return close(fd) == 0 && good;
}

static bool
run_program(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execl(PATH, PATH, (char *)NULL);
		_exit(1);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

bool
ly_ima_exec(unsigned n)
{
	static uint64_t number;
	bool good = true;

	while (good && n-- > 0) {
		good = write_program(++number) && run_program();
		unlink(PATH);
	}
	return good;
}

uint64_t
ly_ima_measured(void)
{
	FILE *f = fopen(COUNT, "re");
	unsigned long n = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%lu", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}
