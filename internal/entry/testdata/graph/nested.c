// What only C has: functions in functions, whose static chain is r10.
int nested(int n);

__attribute__((noipa)) static int apply(int (*f)(int), int n) { return f(n); }

__attribute__((noipa)) int nested(int n)
{
	int sum = 0;
	__attribute__((noipa)) int add(int k) { sum += k; return sum; }
	for (int i = 0; i < n; i++)
		apply(add, i);
	return add(1000);
}
