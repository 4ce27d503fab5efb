-- changes(ledger, text): write what a run of events changed, or what a snapshot holds; apply.lua and restore.lua begin
-- with this file.
--
-- ledger   ledger:{p}; every other key is made of its tag {p}, so all are of one slot
-- text     JSON [head, accounts, kept, sessions, seen]: one argument, since thousands of them cost more than the work
--   head       {field: value} of ledger:{p}, seq among them
--   accounts   {account: {field: value, or null to remove it}} of account:{p}:account
--   kept       the same of kept:{p}:account
--   sessions   [[key, expiry, fields, begins], ...] of session:{p}:key; begins: what the key held goes first
--   seen       [[day, bucket, expiry, [number as text, ...]], ...] of seen:{p}:day:bucket
--   expiry     seconds since 1970
--
-- Invariant: absolute values only, so a run broken half way is repaired by a repeat; the head comes last.
local call = redis.call
local null = cjson.null
local MOST = 1000 -- values of one command: unpack cannot hand over more than some thousands
local function put(key, fields)
  local set, n, gone, m = {}, 0, {}, 0
  for field, value in pairs(fields) do
    if value == null then
      m = m + 1
      gone[m] = field
      if m == MOST then
        call('HDEL', key, unpack(gone, 1, m))
        m = 0
      end
    else
      set[n + 1], set[n + 2] = field, value
      n = n + 2
      if n == MOST then
        call('HSET', key, unpack(set, 1, n))
        n = 0
      end
    end
  end
  if n > 0 then
    call('HSET', key, unpack(set, 1, n))
  end
  if m > 0 then
    call('HDEL', key, unpack(gone, 1, m))
  end
end
local function expire(key, expiry)
  if call('EXPIRETIME', key) ~= expiry then -- mostly it is: to ask is cheaper than to write
    call('EXPIREAT', key, expiry)
  end
end
local function changes(ledger, text)
  local head, accounts, kept, sessions, seen = unpack(cjson.decode(text))
  local tag = string.sub(ledger, 7)
  for name, fields in pairs(accounts) do
    put('account' .. tag .. ':' .. name, fields)
  end
  for name, fields in pairs(kept) do
    put('kept' .. tag .. ':' .. name, fields)
  end
  for _, session in ipairs(sessions) do
    local key = 'session' .. tag .. ':' .. session[1]
    if session[4] then
      call('DEL', key)
    end
    put(key, session[3])
    expire(key, session[2])
  end
  for _, bucket in ipairs(seen) do
    local key, numbers = 'seen' .. tag .. ':' .. bucket[1] .. ':' .. bucket[2], bucket[4]
    for i = 1, #numbers, MOST do
      call('SADD', key, unpack(numbers, i, math.min(i + MOST - 1, #numbers)))
    end
    expire(key, bucket[3])
  end
  put(ledger, head)
end
