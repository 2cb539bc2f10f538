"""A model as a judge: it is given question, criteria, reference and answer, reasons first and then gives a verdict."""
