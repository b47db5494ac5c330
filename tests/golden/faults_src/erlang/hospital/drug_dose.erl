-module(drug_dose).
-export([per_day/2]).

per_day(#{weight := Weight, name := Name}, PerKilo) ->
    Dose = Weight * PerKilo,
    {Name, Dose, mg}.
