// Package inject makes functions of a running program fail, wait, or be called with other arguments.
//
// It exists so that what a user asks for in a rule (`malloc: return NULL errno ENOMEM every 10`) becomes instructions of the
// function's own, which decide in the program itself: nopal is not asked, so a rule that does not fire costs tens of
// instructions. The package knows rules and the code that they are made into; where the code goes is internal/session's.
package inject
