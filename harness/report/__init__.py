"""Records to answers: `summary.summarise`, `write.write_report`, `terminal.result_table`.

Runs without torch, and never imports `measure`: records are all that the two share.
"""
