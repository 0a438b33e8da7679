// Package export writes recordings in the formats of other tools: the trace
// viewers of Chrome and Perfetto, flame graphs, pprof and speedscope.
//
// It exists so that what nopal recorded can be looked at with the tools that
// people already know, and so that knowledge of those tools' formats stays out
// of the rest. There are two ways from the recording to a format:
//
//   - chrome and perfetto show time. They are written from trace.Events as it
//     is read (timeline.go): memory follows functions, threads and the depth of
//     calls, not the number of events.
//   - folded, pprof and speedscope show calling contexts. They are written from
//     the sums that trace.Calls allows (sums.go): memory follows the number of
//     contexts. Only a short recording's speedscope file also has each call.
//
// A recording that has entries but no exits knows nothing of durations:
// timelines then have a mark for each entry, and contexts the number of calls.
package export
