"""What is shown in a terminal: the live table, lists, comparisons, the doctor."""
