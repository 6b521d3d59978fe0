"""The workbench: an HTTP API (`api`) and a web page (`ui`) over the same bounded queue; fastapi and gradio are imported here and nowhere else."""
