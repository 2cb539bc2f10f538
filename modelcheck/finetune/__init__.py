"""One fine-tune between two evaluations, described by a job. The engine never imports this package."""
