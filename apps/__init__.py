"""Programs on top of minicnn: the command line, evaluator, report, study, faces and camera."""
