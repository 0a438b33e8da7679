// Package ftrace knows which functions are wanted and makes their sites call nopal's code: sites (Record, in a Table), what is to
// happen there (Ops), and the filters that choose functions (Filter).
//
// It exists so that there is one place from which a target's text is changed. Whoever wants something at a function registers an
// Ops; the table works out what each site has to call so that all of them are served, and writes it, checking every
// instruction that it replaces. The words are those of the kernel's kernel/trace/ftrace.c.
package ftrace
