-- load(p): what a batch needs to know, if the view stands where the owner believes.
--
-- KEYS[1]   ledger:{p}; every other key is made of its tag {p}, so all are of one slot
-- ARGV[1]   seq the owner believes in
-- ARGV[2]   JSON [accounts, sessions, kept, seen]
--   accounts, sessions   [name, ...]
--   kept                 [account, field, ...]
--   seen                 ['day:bucket', number, number, ...], numbers as text
--
-- Reply: {{fields of account 1, ...}, {fields of session 1, ...}, {kept value 1, ...}, {place, 0|1, 0|1, ...}}: of the
-- numbers, those of which one is known, by their place among those asked (from 0); most are new and say nothing.
-- Error: OUTOFSTEP <seq> when the view stands elsewhere.
-- Invariant: reads only.
local call = redis.call
local seq = call('HGET', KEYS[1], 'seq') or '0'
if seq ~= ARGV[1] then
  return redis.error_reply('OUTOFSTEP ' .. seq)
end
local accounts, sessions, kept, seen = unpack(cjson.decode(ARGV[2]))
local tag = string.sub(KEYS[1], 7) .. ':'
for i, name in ipairs(accounts) do
  accounts[i] = call('HGETALL', 'account' .. tag .. name)
end
for i, name in ipairs(sessions) do
  sessions[i] = call('HGETALL', 'session' .. tag .. name)
end
local values = {}
for i = 1, #kept, 2 do
  values[(i + 1) / 2] = call('HGET', 'kept' .. tag .. kept[i], kept[i + 1])
end
local known, n = {}, 0
for i = 1, #seen, 3 do
  local found = call('SMISMEMBER', 'seen' .. tag .. seen[i], seen[i + 1], seen[i + 2])
  if found[1] + found[2] > 0 then
    known[n + 1], known[n + 2], known[n + 3] = (i - 1) / 3, found[1], found[2]
    n = n + 3
  end
end
return {accounts, sessions, values, known}
