#!/usr/bin/env bash
# Analyses the shipped digits network on the eyeriss machine and prunes it into demo/, with a page of each.
# BIN is the folder of the eapc command; without it, the one on PATH is taken.
set -euo pipefail

BIN=${BIN:+$(cd "$BIN" && pwd)/}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rm -rf demo
mkdir demo

show() {
  printf '\n$ eapc %s\n\n' "$*"
  "${BIN}eapc" "$@"
}

show analyze models/digits.onnx --hw eyeriss --calib models/digits_calibration.npz \
  --html demo/analysis.html
show prune models/digits.onnx --hw eyeriss --calib models/digits_calibration.npz \
  --eval models/digits_eval.npz -o demo/digits.pruned.onnx --html demo/report.html
printf '\nreport, to open in a browser: %s\n' "$PWD/demo/report.html"
