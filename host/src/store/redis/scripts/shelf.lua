-- Reads of modules: a component, one module's versions, all of a tenant's, or who has anything.

if A.digest then
  local component = call('GET', K.component(A.digest)) or nil
  local is_lost = not component and call('HEXISTS', K.users, A.digest) == 1
  return cmsgpack.pack({ found = true, component = component, is_lost = is_lost })
elseif A.name then
  local text = call('HGET', K.modules(A.tenant), A.name)
  return cmsgpack.pack({ found = true, modules = { text or nil } })
elseif A.tenant then
  return cmsgpack.pack({ found = true, modules = call('HVALS', K.modules(A.tenant)) })
end
return cmsgpack.pack({ found = true, tenants = call('HKEYS', K.tenants) })
