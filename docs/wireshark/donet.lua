-- A dissector for both sides of the protocol: the Message Director's (AI and UberDOG processes, daemons; TCP 7199) and
-- the Client Agent's (clients; TCP 7198).
--
-- Copy it into the folder that Help > About Wireshark > Folders calls "Personal Lua Plugins", or:
--   wireshark -X lua_script:donet.lua
--   tshark -X lua_script:donet.lua -r capture.pcap -V
-- Other ports: "Decode As…", donet.internal or donet.client.

-- The message numbers, from src/wire/message_type.rs; a test of the daemon compares them.
local MESSAGE_TYPES = {
-- begin of the table
  [1] = "CLIENT_HELLO",
  [2] = "CLIENT_HELLO_RESP",
  [3] = "CLIENT_DISCONNECT",
  [4] = "CLIENT_EJECT",
  [5] = "CLIENT_HEARTBEAT",
  [120] = "CLIENT_OBJECT_SET_FIELD",
  [121] = "CLIENT_OBJECT_SET_FIELDS",
  [132] = "CLIENT_OBJECT_LEAVING",
  [140] = "CLIENT_OBJECT_LOCATION",
  [142] = "CLIENT_ENTER_OBJECT_REQUIRED",
  [143] = "CLIENT_ENTER_OBJECT_REQUIRED_OTHER",
  [161] = "CLIENT_OBJECT_LEAVING_OWNER",
  [172] = "CLIENT_ENTER_OBJECT_REQUIRED_OWNER",
  [173] = "CLIENT_ENTER_OBJECT_REQUIRED_OTHER_OWNER",
  [200] = "CLIENT_ADD_INTEREST",
  [201] = "CLIENT_ADD_INTEREST_MULTIPLE",
  [203] = "CLIENT_REMOVE_INTEREST",
  [204] = "CLIENT_DONE_INTEREST_RESP",
  [1000] = "CLIENTAGENT_SET_STATE",
  [1001] = "CLIENTAGENT_SET_CLIENT_ID",
  [1002] = "CLIENTAGENT_SEND_DATAGRAM",
  [1004] = "CLIENTAGENT_EJECT",
  [1005] = "CLIENTAGENT_DROP",
  [1006] = "CLIENTAGENT_GET_NETWORK_ADDRESS",
  [1007] = "CLIENTAGENT_GET_NETWORK_ADDRESS_RESP",
  [1010] = "CLIENTAGENT_DECLARE_OBJECT",
  [1011] = "CLIENTAGENT_UNDECLARE_OBJECT",
  [1012] = "CLIENTAGENT_ADD_SESSION_OBJECT",
  [1013] = "CLIENTAGENT_REMOVE_SESSION_OBJECT",
  [1014] = "CLIENTAGENT_SET_FIELDS_SENDABLE",
  [1015] = "CLIENTAGENT_GET_TLVS",
  [1016] = "CLIENTAGENT_GET_TLVS_RESP",
  [1100] = "CLIENTAGENT_OPEN_CHANNEL",
  [1101] = "CLIENTAGENT_CLOSE_CHANNEL",
  [1110] = "CLIENTAGENT_ADD_POST_REMOVE",
  [1111] = "CLIENTAGENT_CLEAR_POST_REMOVES",
  [1200] = "CLIENTAGENT_ADD_INTEREST",
  [1201] = "CLIENTAGENT_ADD_INTEREST_MULTIPLE",
  [1203] = "CLIENTAGENT_REMOVE_INTEREST",
  [1204] = "CLIENTAGENT_DONE_INTEREST_RESP",
  [2000] = "STATESERVER_CREATE_OBJECT_WITH_REQUIRED",
  [2001] = "STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER",
  [2009] = "STATESERVER_DELETE_AI_OBJECTS",
  [2010] = "STATESERVER_OBJECT_GET_FIELD",
  [2011] = "STATESERVER_OBJECT_GET_FIELD_RESP",
  [2012] = "STATESERVER_OBJECT_GET_FIELDS",
  [2013] = "STATESERVER_OBJECT_GET_FIELDS_RESP",
  [2014] = "STATESERVER_OBJECT_GET_ALL",
  [2015] = "STATESERVER_OBJECT_GET_ALL_RESP",
  [2016] = "STATESERVER_OBJECT_GET_CLASS",
  [2017] = "STATESERVER_OBJECT_GET_CLASS_RESP",
  [2020] = "STATESERVER_OBJECT_SET_FIELD",
  [2021] = "STATESERVER_OBJECT_SET_FIELDS",
  [2030] = "STATESERVER_OBJECT_DELETE_FIELD_RAM",
  [2031] = "STATESERVER_OBJECT_DELETE_FIELDS_RAM",
  [2032] = "STATESERVER_OBJECT_DELETE_RAM",
  [2040] = "STATESERVER_OBJECT_SET_LOCATION",
  [2041] = "STATESERVER_OBJECT_CHANGING_LOCATION",
  [2042] = "STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED",
  [2043] = "STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER",
  [2044] = "STATESERVER_OBJECT_GET_LOCATION",
  [2045] = "STATESERVER_OBJECT_GET_LOCATION_RESP",
  [2046] = "STATESERVER_OBJECT_LOCATION_ACK",
  [2050] = "STATESERVER_OBJECT_SET_AI",
  [2051] = "STATESERVER_OBJECT_CHANGING_AI",
  [2052] = "STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED",
  [2053] = "STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED_OTHER",
  [2054] = "STATESERVER_OBJECT_GET_AI",
  [2055] = "STATESERVER_OBJECT_GET_AI_RESP",
  [2060] = "STATESERVER_OBJECT_SET_OWNER",
  [2061] = "STATESERVER_OBJECT_CHANGING_OWNER",
  [2062] = "STATESERVER_OBJECT_ENTER_OWNER_WITH_REQUIRED",
  [2063] = "STATESERVER_OBJECT_ENTER_OWNER_WITH_REQUIRED_OTHER",
  [2064] = "STATESERVER_OBJECT_GET_OWNER",
  [2065] = "STATESERVER_OBJECT_GET_OWNER_RESP",
  [2066] = "STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED",
  [2067] = "STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED_OTHER",
  [2100] = "STATESERVER_OBJECT_GET_ZONE_OBJECTS",
  [2102] = "STATESERVER_OBJECT_GET_ZONES_OBJECTS",
  [2104] = "STATESERVER_OBJECT_GET_CHILDREN",
  [2110] = "STATESERVER_OBJECT_GET_ZONE_COUNT",
  [2111] = "STATESERVER_OBJECT_GET_ZONE_COUNT_RESP",
  [2112] = "STATESERVER_OBJECT_GET_ZONES_COUNT",
  [2113] = "STATESERVER_OBJECT_GET_ZONES_COUNT_RESP",
  [2114] = "STATESERVER_OBJECT_GET_CHILD_COUNT",
  [2115] = "STATESERVER_OBJECT_GET_CHILD_COUNT_RESP",
  [2120] = "STATESERVER_OBJECT_DELETE_ZONE",
  [2122] = "STATESERVER_OBJECT_DELETE_ZONES",
  [2124] = "STATESERVER_OBJECT_DELETE_CHILDREN",
  [2125] = "STATESERVER_GET_ACTIVE_ZONES",
  [2126] = "STATESERVER_GET_ACTIVE_ZONES_RESP",
  [2200] = "DBSS_OBJECT_ACTIVATE_WITH_DEFAULTS",
  [2201] = "DBSS_OBJECT_ACTIVATE_WITH_DEFAULTS_OTHER",
  [2207] = "DBSS_OBJECT_GET_ACTIVATED",
  [2208] = "DBSS_OBJECT_GET_ACTIVATED_RESP",
  [2230] = "DBSS_OBJECT_DELETE_FIELD_DISK",
  [2231] = "DBSS_OBJECT_DELETE_FIELDS_DISK",
  [2232] = "DBSS_OBJECT_DELETE_DISK",
  [3000] = "DBSERVER_CREATE_OBJECT",
  [3001] = "DBSERVER_CREATE_OBJECT_RESP",
  [3010] = "DBSERVER_OBJECT_GET_FIELD",
  [3011] = "DBSERVER_OBJECT_GET_FIELD_RESP",
  [3012] = "DBSERVER_OBJECT_GET_FIELDS",
  [3013] = "DBSERVER_OBJECT_GET_FIELDS_RESP",
  [3014] = "DBSERVER_OBJECT_GET_ALL",
  [3015] = "DBSERVER_OBJECT_GET_ALL_RESP",
  [3020] = "DBSERVER_OBJECT_SET_FIELD",
  [3021] = "DBSERVER_OBJECT_SET_FIELDS",
  [3022] = "DBSERVER_OBJECT_SET_FIELD_IF_EQUALS",
  [3023] = "DBSERVER_OBJECT_SET_FIELD_IF_EQUALS_RESP",
  [3024] = "DBSERVER_OBJECT_SET_FIELDS_IF_EQUALS",
  [3025] = "DBSERVER_OBJECT_SET_FIELDS_IF_EQUALS_RESP",
  [3026] = "DBSERVER_OBJECT_SET_FIELD_IF_EMPTY",
  [3027] = "DBSERVER_OBJECT_SET_FIELD_IF_EMPTY_RESP",
  [3028] = "DBSERVER_OBJECT_SET_FIELDS_IF_EMPTY",
  [3029] = "DBSERVER_OBJECT_SET_FIELDS_IF_EMPTY_RESP",
  [3030] = "DBSERVER_OBJECT_DELETE_FIELD",
  [3031] = "DBSERVER_OBJECT_DELETE_FIELDS",
  [3032] = "DBSERVER_OBJECT_DELETE",
  [9000] = "CONTROL_ADD_CHANNEL",
  [9001] = "CONTROL_REMOVE_CHANNEL",
  [9002] = "CONTROL_ADD_RANGE",
  [9003] = "CONTROL_REMOVE_RANGE",
  [9010] = "CONTROL_ADD_POST_REMOVE",
  [9011] = "CONTROL_CLEAR_POST_REMOVES",
  [9012] = "CONTROL_SET_CON_NAME",
  [9013] = "CONTROL_SET_CON_URL",
  [9014] = "CONTROL_LOG_MESSAGE",
-- end of the table
}

-- What follows the type of a message, as far as its layout is fixed: {name, kind}. A "rest" takes what is left; what is
-- not listed is shown as "Rest". Field values depend on the contract and are shown as bytes.
local LAYOUTS = {
  CLIENT_HELLO = { { "DC hash", "u32" }, { "Version", "string" } },
  CLIENT_EJECT = { { "Code", "u16" }, { "Reason", "string" } },
  CLIENT_OBJECT_SET_FIELD = { { "DoId", "u32" }, { "Field", "u16" }, { "Value", "rest" } },
  CLIENT_OBJECT_SET_FIELDS = { { "DoId", "u32" }, { "Fields", "u16" }, { "Values", "rest" } },
  CLIENT_OBJECT_LEAVING = { { "DoId", "u32" } },
  CLIENT_OBJECT_LEAVING_OWNER = { { "DoId", "u32" } },
  CLIENT_OBJECT_LOCATION = { { "DoId", "u32" }, { "Parent", "u32" }, { "Zone", "u32" } },
  CLIENT_ENTER_OBJECT_REQUIRED = "entry",
  CLIENT_ENTER_OBJECT_REQUIRED_OTHER = "entry",
  CLIENT_ENTER_OBJECT_REQUIRED_OWNER = "entry",
  CLIENT_ENTER_OBJECT_REQUIRED_OTHER_OWNER = "entry",
  CLIENT_ADD_INTEREST = { { "Context", "u32" }, { "Interest", "u16" }, { "Parent", "u32" }, { "Zone", "u32" } },
  CLIENT_ADD_INTEREST_MULTIPLE = { { "Context", "u32" }, { "Interest", "u16" }, { "Parent", "u32" }, { "Zones", "u16" }, { "Zone list", "rest" } },
  CLIENT_REMOVE_INTEREST = { { "Context", "u32" }, { "Interest", "u16" } },
  CLIENT_DONE_INTEREST_RESP = { { "Context", "u32" }, { "Interest", "u16" } },
  CLIENTAGENT_SET_STATE = { { "State", "u16" } },
  CLIENTAGENT_SET_CLIENT_ID = { { "Channel", "u64" } },
  CLIENTAGENT_EJECT = { { "Code", "u16" }, { "Reason", "string" } },
  CLIENTAGENT_DECLARE_OBJECT = { { "DoId", "u32" }, { "Class", "u16" } },
  CLIENTAGENT_UNDECLARE_OBJECT = { { "DoId", "u32" } },
  CLIENTAGENT_ADD_SESSION_OBJECT = { { "DoId", "u32" } },
  CLIENTAGENT_REMOVE_SESSION_OBJECT = { { "DoId", "u32" } },
  CLIENTAGENT_OPEN_CHANNEL = { { "Channel", "u64" } },
  CLIENTAGENT_CLOSE_CHANNEL = { { "Channel", "u64" } },
  CLIENTAGENT_ADD_INTEREST = { { "Interest", "u16" }, { "Parent", "u32" }, { "Zone", "u32" } },
  CLIENTAGENT_REMOVE_INTEREST = { { "Interest", "u16" } },
  STATESERVER_CREATE_OBJECT_WITH_REQUIRED = "entry",
  STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER = "entry",
  STATESERVER_DELETE_AI_OBJECTS = { { "AI", "u64" } },
  STATESERVER_OBJECT_GET_FIELD = { { "Context", "u32" }, { "DoId", "u32" }, { "Field", "u16" } },
  STATESERVER_OBJECT_GET_FIELD_RESP = { { "Context", "u32" }, { "Success", "u8" }, { "Field and value", "rest" } },
  STATESERVER_OBJECT_GET_ALL = { { "Context", "u32" }, { "DoId", "u32" } },
  STATESERVER_OBJECT_SET_FIELD = { { "DoId", "u32" }, { "Field", "u16" }, { "Value", "rest" } },
  STATESERVER_OBJECT_SET_FIELDS = { { "DoId", "u32" }, { "Fields", "u16" }, { "Values", "rest" } },
  STATESERVER_OBJECT_DELETE_RAM = { { "DoId", "u32" } },
  STATESERVER_OBJECT_SET_LOCATION = { { "Parent", "u32" }, { "Zone", "u32" } },
  STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED = "entry",
  STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER = "entry",
  STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED = "entry",
  STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED_OTHER = "entry",
  STATESERVER_OBJECT_ENTER_OWNER_WITH_REQUIRED = "entry",
  STATESERVER_OBJECT_ENTER_OWNER_WITH_REQUIRED_OTHER = "entry",
  STATESERVER_OBJECT_SET_AI = { { "AI", "u64" } },
  STATESERVER_OBJECT_SET_OWNER = { { "Owner", "u64" } },
  CONTROL_ADD_CHANNEL = { { "Channel", "u64" } },
  CONTROL_REMOVE_CHANNEL = { { "Channel", "u64" } },
  CONTROL_ADD_RANGE = { { "First", "u64" }, { "Last", "u64" } },
  CONTROL_REMOVE_RANGE = { { "First", "u64" }, { "Last", "u64" } },
  CONTROL_SET_CON_NAME = { { "Name", "string" } },
  CONTROL_SET_CON_URL = { { "URL", "string" } },
}

local ENTRY = { { "DoId", "u32" }, { "Parent", "u32" }, { "Zone", "u32" }, { "Class", "u16" }, { "Values", "rest" } }

-- The control channel: a message to it alone is for the Message Director and has no sender.
local CONTROL = UInt64(1)
local LENGTH_BYTES = 2

local internal = Proto("donet.internal", "DoNet, Message Director")
local client = Proto("donet.client", "DoNet, Client Agent")

local function fields_of(prefix)
  return {
    length = ProtoField.uint16(prefix .. ".length", "Length"),
    recipients = ProtoField.uint8(prefix .. ".recipients", "Recipients"),
    recipient = ProtoField.uint64(prefix .. ".recipient", "Recipient"),
    sender = ProtoField.uint64(prefix .. ".sender", "Sender"),
    type = ProtoField.uint16(prefix .. ".type", "Type", base.DEC, MESSAGE_TYPES),
    doid = ProtoField.uint32(prefix .. ".doid", "DoId"),
    payload = ProtoField.bytes(prefix .. ".payload", "Payload"),
  }
end

local function listed(fields)
  local list = {}
  for _, field in pairs(fields) do list[#list + 1] = field end
  return list
end

local of_internal, of_client = fields_of("donet"), fields_of("donet.client")
internal.fields, client.fields = listed(of_internal), listed(of_client)

local cut_short = ProtoExpert.new("donet.cut_short", "The message ends early", expert.group.MALFORMED, expert.severity.ERROR)
local cut_short_client = ProtoExpert.new("donet.client.cut_short", "The message ends early", expert.group.MALFORMED, expert.severity.ERROR)
internal.experts, client.experts = { cut_short }, { cut_short_client }

local SIZES = { u8 = 1, u16 = 2, u32 = 4, u64 = 8 }

-- Shows what follows the type. Returns whether it fitted.
local function show_payload(payload, name, tree, fields)
  local layout = LAYOUTS[name]
  if layout == "entry" then layout = ENTRY end
  local at = 0
  for _, part in ipairs(layout or {}) do
    local label, kind = part[1], part[2]
    local left = payload:len() - at
    if kind == "rest" then
      if left > 0 then tree:add(fields.payload, payload(at, left)):prepend_text(label .. ": ") end
      return true
    elseif kind == "string" then
      if left < 2 or left - 2 < payload(at, 2):le_uint() then return false end
      local size = payload(at, 2):le_uint()
      local text = size > 0 and payload(at + 2, size):string() or ""
      tree:add(payload(at, 2 + size), label .. ": " .. text)
      at = at + 2 + size
    else
      local size = SIZES[kind]
      if left < size then return false end
      local range = payload(at, size)
      if label == "DoId" then
        tree:add_le(fields.doid, range)
      else
        local value = size == 8 and tostring(range:le_uint64()) or tostring(range:le_uint())
        tree:add(range, label .. ": " .. value)
      end
      at = at + size
    end
  end
  if at < payload:len() then
    tree:add(fields.payload, payload(at, payload:len() - at))
  end
  return true
end

-- Shows one message from its type on. Returns its name.
local function show_message(message, tree, fields, expert_info)
  if message:len() < 2 then
    tree:add_proto_expert_info(expert_info)
    return "cut short"
  end
  local number = message(0, 2):le_uint()
  local name = MESSAGE_TYPES[number] or ("type " .. number)
  tree:add_le(fields.type, message(0, 2))
  local fits = true
  if message:len() > 2 then
    fits = show_payload(message(2, message:len() - 2), name, tree, fields)
  elseif type(LAYOUTS[name]) == "table" or LAYOUTS[name] == "entry" then
    fits = false
  end
  if not fits then tree:add_proto_expert_info(expert_info) end
  return name
end

local function show_internal(body, tree)
  local count = body(0, 1):uint()
  local header = 1 + 8 * count
  if body:len() < header then
    tree:add_proto_expert_info(cut_short)
    return "cut short"
  end
  tree:add(of_internal.recipients, body(0, 1))
  for index = 0, count - 1 do
    tree:add_le(of_internal.recipient, body(1 + 8 * index, 8))
  end
  local is_control = count == 1 and body(1, 8):le_uint64() == CONTROL
  if not is_control then
    if body:len() < header + 8 then
      tree:add_proto_expert_info(cut_short)
      return "cut short"
    end
    tree:add_le(of_internal.sender, body(header, 8))
    header = header + 8
  end
  if body:len() == header then
    tree:add_proto_expert_info(cut_short)
    return "cut short"
  end
  return show_message(body(header, body:len() - header), tree, of_internal, cut_short)
end

local function dissector_of(proto, column, fields, show)
  local function frame_bytes(buffer, _, offset)
    return LENGTH_BYTES + buffer(offset, LENGTH_BYTES):le_uint()
  end
  local function dissect(buffer, packet, root)
    packet.cols.protocol = column
    local tree = root:add(proto, buffer())
    tree:add_le(fields.length, buffer(0, LENGTH_BYTES))
    local name = "empty"
    if buffer:len() > LENGTH_BYTES then
      name = show(buffer(LENGTH_BYTES, buffer:len() - LENGTH_BYTES), tree)
    end
    tree:append_text(", " .. name)
    packet.cols.info:append(" " .. name)
    return buffer:len()
  end
  return function(buffer, packet, root)
    packet.cols.info = ""
    dissect_tcp_pdus(buffer, root, LENGTH_BYTES, frame_bytes, dissect)
    return buffer:len()
  end
end

internal.dissector = dissector_of(internal, "DoNet MD", of_internal, show_internal)
client.dissector = dissector_of(client, "DoNet CA", of_client, function(body, tree)
  return show_message(body, tree, of_client, cut_short_client)
end)

local tcp = DissectorTable.get("tcp.port")
tcp:add(7199, internal)
tcp:add(7198, client)
