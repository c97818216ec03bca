"""Methods of other papers, each by its own formula.

They lie here and not in the package: nobody needs them to use pyedge, and what a comparison needs
must not become a promise to users. What pyedge has for its own sake is not written again: FitNet
(`pyedge.fitnet`), distillation with temperature (the same without hints), LwF
(`bench.learning.torch_methods`).
"""
