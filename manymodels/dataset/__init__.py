"""The data of a job: where its rows are, what their columns are, and how they leave for the split."""
