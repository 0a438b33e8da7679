// Package livepatch replaces functions of a running process.
//
// A patch is a file (.npz) with new versions of functions of one object. It is laid out
// and relocated for the process ([Patch.Link]), mapped, and the old functions are
// redirected to a stub each, which leads to the new one. Nothing is linked into the
// process or loaded by its own loader, which may be in any state when it is stopped.
//
// # Consistency
//
// Each thread takes either the old functions or the new ones, and goes over from one
// to the other when none of those being replaced is on its stack. So no call ever sees
// both. While threads go over (a transition) the stubs ask which way the thread takes; the
// code is internal/entry/patch_arm64.s, its head comment says how. When all have, the
// stub's first instruction becomes a NOP or a branch, and nothing is asked any more.
//
// A transition goes like this, and the removal of a patch is the same with old and new
// exchanged:
//
//  1. Tables are empty, the mode is "gathering". The redirects are written, one after
//     the other, by exchanging a NOP for a branch; no thread is stopped for that. Every
//     thread takes the old way.
//  2. Every thread is stopped once, for itself: this makes it see the redirects (a stop
//     synchronises context, Arm ARM B2.2.5), and gives its thread pointer, by which
//     the stubs know it. It is entered as taking the old way.
//  3. The mode becomes "converging": a thread that is born from now on takes the new way.
//  4. Threads that still take the old way are stopped again, each for itself, their stacks
//     unwound; where no function that is being replaced is found, and all of the stack
//     is known, the thread is entered as taking the new way before it goes on. This
//     is repeated until none is left.
//  5. The stubs' first instruction becomes the settled one.
//
// A thread never waits for another, or for nopal. At a timeout the transition goes
// backwards: those who have gone over are gathered with the new way as the base, and go
// back under the same rule.
//
// # Killed at any instruction
//
// All that is known about patches is in the process, in a private mapping of a memfd
// named nopal-patch ([state]): what is going to be done is written there before it is
// done. Each step leaves something that goes on for ever if nothing follows: in a
// transition without nopal threads stay on their way. The next nopal goes on from there.
// A child of fork has a copy of it all.
//
// # Where the redirect is
//
// In the second slot of a function's site, where NOP and branch may be exchanged while
// others run them. Where a tracer has prepared the site the slots are the tracer's, and
// the redirect replaces the first instruction of the function's body, for which all
// threads are stopped for a moment; the stub's old way executes that instruction. So
// a tracer and a patch never share an instruction.
package livepatch
