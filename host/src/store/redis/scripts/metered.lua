-- What has a tenant used? Field by field, as `settle` has counted it.

return call('HGETALL', K.metered(A.tenant))
