"""The engines that run rules: Rego by OPA, Datalog by clingo, both in processes that can be ended when a rule runs away."""
