"""Records, options and mathematics: pure, on numpy and the standard library alone.

Everything else imports this folder and it imports nothing. `records` holds what passes from stage
to stage, and `options` the options of each command; `planning` decides which layers are
initialised; `preinit` draws matrices; `moments`, `scale_rule` and `solve` lead from measured
moments to scales; `measurements` holds moments by what they were measured at, and `indices` a type
for each kind of index.

Another scale rule than unit variance: a class like those in `scale_rule`, and `SCALE_RULE` in
`planning`.
"""
