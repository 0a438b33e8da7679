/* Between many.c and the generated file with its functions. */
#include "truth.h"

extern unsigned long (*const many[])(unsigned long);
extern const unsigned long many_count;
