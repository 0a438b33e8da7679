package unwind

type flow struct{}
