#!/bin/bash
# Runs every fuzz target of the repository for the given time: go test -fuzz
# takes one target of one package at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10s}

go list -f '{{.Dir}} {{.ImportPath}} {{join .TestGoFiles " "}} {{join .XTestGoFiles " "}}' ./... |
	while read -r dir package files; do
		[ -n "$files" ] || continue
		for target in $(cd "$dir" && grep -ho '^func Fuzz[A-Za-z0-9_]*' $files | sed 's/^func //'); do
			echo "fuzz: $package $target"
			go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" </dev/null
		done
	done
