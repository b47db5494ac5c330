%% ?LOG_ERROR as kernel's logger.hrl has it, which a release without its headers cannot include.
-define(LOCATION, #{mfa => {?MODULE, ?FUNCTION_NAME, ?FUNCTION_ARITY}, line => ?LINE, file => ?FILE}).
-define(LOG_ERROR(A), logger:macro_log(?LOCATION, error, A)).
-define(LOG_ERROR(A, B), logger:macro_log(?LOCATION, error, A, B)).
