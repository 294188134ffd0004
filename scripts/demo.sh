#!/usr/bin/env bash
# The main job, on the sample data: one model per store; train, register, score, and look at the result.
set -euo pipefail
manymodels=$1
rm -rf demo_output
job=configs/store_sales.yaml
"$manymodels" plan "$job"
"$manymodels" train "$job"
"$manymodels" score "$job" --future sample_data/store_sales_future.parquet -o demo_output/scores
"$manymodels" models list store-sales --limit 8
"$(dirname "$manymodels")/python" scripts/demo_table.py demo_output/scores
