#!/bin/bash
# Measures the figures of RATIONALE.md; called by `make bench`, which builds what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
exec go run ./bench "$@"
