// How many calls the program makes, if it knows.
extern long times_calls;
