/*
 * A process that closes every descriptor and then forbids itself all system calls but read, write,
 * sigreturn and exit (others kill it): what runs in its context must make no system call.
 */
#define _GNU_SOURCE
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "truth.h"

TRACED unsigned long boxed(unsigned long x) { OPAQUE(x); return x * 48271 % 2147483647; }

#define ALLOW(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

int main(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 0) : 100000, x = 1;
	struct sock_filter prog[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(SYS_read), ALLOW(SYS_write), ALLOW(SYS_rt_sigreturn), ALLOW(SYS_exit), ALLOW(SYS_exit_group),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog fprog = { sizeof prog / sizeof *prog, prog };
	char buf[256];
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &fprog)) {
		perror("seccomp");
		return 1;
	}
	for (unsigned long i = 0; i < n; i++)
		x = boxed(x);
	int len = snprintf(buf, sizeof buf, "boxed %lu\ncalls boxed %lu\n", x, n);
	if (write(1, buf, (size_t)len) != len)
		_exit(1);
	if (argc > 2) {
		/* Stay until stdin ends: for attach. */
		while (read(0, buf, sizeof buf) > 0)
			for (unsigned long i = 0; i < n; i++)
				x = boxed(x);
		len = snprintf(buf, sizeof buf, "left %d\n", x != 0);
		if (write(1, buf, (size_t)len) != len)
			_exit(1);
	}
	_exit(0);
}
