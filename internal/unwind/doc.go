// Package unwind tells which functions a stopped thread of a process is in, or
// that it cannot tell. It exists because a function may be replaced only while it
// is certain that no thread is in it: a wrong stack would make a thread return
// into code that has changed its meaning. So every step is made by the call frame
// information that the compiler wrote for exceptions, or by an instruction whose
// effect is known, and is checked; what is not known is an [UnknownError] with
// the reason, never a guess.
//
// Frame records are not followed where there is no call frame information: code
// without frame pointers keeps x29 as it is or uses it for something else, and a
// function in its prologue or epilogue has none, so a chain of records looks
// complete when functions are missing in it.
package unwind
