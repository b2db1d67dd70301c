"""Records, options and mathematics: pure, on numpy and the standard library alone.

Everything else imports this folder and it imports nothing. `records` is what the stages hand to
each other; `options` is what the user asked for; `moments` and `solve` hold the closed forms from
measured moments to scales; `preinit` draws matrices; `planning` decides what is done with a layer.

Another scale rule than unit variance: a class like those in `scale_rule`, and `SCALE_RULE` in
`planning`.
"""
