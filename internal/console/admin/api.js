// ws-api by HTTP and JSON, on the host that this page came from.

// An API with api_tokens wants one of them with each call. It is kept as long as this tab is open.
const kept = 'holdfast token';
export const hasToken = () => sessionStorage.getItem(kept) !== null;
export const useToken = (token) => sessionStorage.setItem(kept, token);
const authorization = () => {
  const token = sessionStorage.getItem(kept);
  return token ? { Authorization: `Bearer ${token}` } : {};
};

/** What an answer that is no success says, as an error with its code. */
const failure = (response, answer) => Object.assign(new Error(answer.message ?? `status ${response.status}`), { code: answer.code ?? String(response.status) });

/** Calls a method such as "ClientService/CountClients"; an error has `code` and the answer's text. */
export async function call(method, request) {
  const response = await fetch(`/holdfast.v1.${method}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...authorization() },
    body: JSON.stringify(request),
    signal: AbortSignal.timeout(70_000),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw failure(response, answer);
  return answer;
}

export const count = async (target) => {
  // proto3 JSON leaves zeros out and writes 64-bit numbers as texts.
  const { clients = 0, users = 0 } = await call('ClientService/CountClients', { target });
  return { clients: Number(clients), users: Number(users) };
};

/** The processes that there are. */
export async function listNodes() {
  const response = await fetch('/console/nodes', { headers: authorization(), signal: AbortSignal.timeout(10_000) });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw failure(response, answer);
  return answer.nodes;
}

const quoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** The command that makes the same call. */
const header = () => (sessionStorage.getItem(kept) ? '-H "Authorization: Bearer $HOLDFAST_API_TOKEN" ' : '');
export const command = (method, request) => `curl ${header()}${location.origin}/holdfast.v1.${method} -d ${quoted(JSON.stringify(request))}`;
