/* PR_SET_MDWE: no mapping may become writable and executable (kernels before 6.3 refuse; then it is an ordinary program). */
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "truth.h"

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif

TRACED unsigned long guarded(unsigned long x) { OPAQUE(x); return x * 3 + 1; }

int main(int argc, char **argv)
{
	unsigned long x = 1;
	prctl(PR_SET_MDWE, 1, 0, 0, 0);
	if (argc > 1) {
		/* Begin anew with the flag inherited, so that it holds before anyone attaches. */
		execl("/proc/self/exe", argv[0], (char *)NULL);
		return 1;
	}
	for (int i = 0; i < 1000; i++)
		x = guarded(x);
	printf("guarded %lu\n", x);
	CALLS("guarded", 1000);
	return 0;
}
