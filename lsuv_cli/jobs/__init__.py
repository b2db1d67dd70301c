"""The work of each command, from top to bottom: one file per command.

In: options. Out: a report, or the written files. Every job takes the same steps, each in a file of
its own: `opening` reads the model, `planning` finds its layers and decides what is done with each,
`preparing` reads the samples and opens what the engine needs.

- `init`, `verify`, `compare`, `inspect`, `apply`: the jobs. Start with `init`.
- `opening`, `planning`, `preparing`: the steps they share; `loading` has the samples, `storing` the
  values between segments.
- `init_outputs`, `model_output`: the files that are written, checked before the work.
- `broken_models`: the sentence about a model file that is broken in a way nothing foresees.
- `naming`: the names of the written tensors, fitted to the checkpoint of `--like`.
- `handmade`: the warning about weights that look made by hand.
- `backward`: the gradients of `compare`.
- `init_keywords`: the keywords of `lsuv_cli.initialize`.
"""
