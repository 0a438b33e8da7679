// Package lint holds the rules of this repository that no compiler and no
// general linter knows: which package may import which, and where raw system
// calls and unsafe may stand. They are tests, so `go test` checks them.
package lint
