/**
 * Keys and tokens in a memory, masked where MEMSYNC_REDACT=mask: in the strings of its value and of its metadata, at any
 * depth; the key, the namespace and the names of fields stay as they are. Pure.
 *
 * Only shapes that their makers publish, or a standard does, are looked for, so that a hash, an id or a name is left
 * alone. A mask is never longer than what it replaces, so that a memory that was taken keeps within the limit. A mask is
 * no key itself, so a memory may pass any number of times; a key that stood against another without a character between
 * may be found only in the second. Every pattern takes a time that grows with the text's length and no faster: repetitions
 * are bounded, or end where their class ends.
 */
import type { MemoryInput } from './index.ts'

export type RedactMode = 'off' | 'mask'

interface SecretPattern {
  /** What it finds. */
  name: string
  pattern: RegExp
  /** Where its shape is written down. */
  source: string
  /** `[redacted]` unless given. */
  mask?: string
}

const MASK = '[redacted]'
/** The shortest thing that some pattern finds. */
const MIN_SECRET_LENGTH = 3

export const SECRET_PATTERNS: readonly SecretPattern[] = [
  {
    name: 'private key',
    // Up to the next dashes, or to the end of what may stand in one that was cut off.
    pattern:
      /-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:(?:[^-]|-(?!----)){0,32768}-----END [A-Z0-9 ]{1,48}-----|[A-Za-z0-9+/=\s\\]{64,32768})/g,
    source: 'https://www.rfc-editor.org/rfc/rfc7468',
  },
  {
    name: 'Authorization header',
    pattern:
      /(?<=\b(?:[Aa]uthorization|AUTHORIZATION)[\\"']{0,3}\s{0,4}[:=]\s{0,4}[\\"']{0,3}(?:[Bb]earer|[Bb]asic|[Tt]oken)\s{1,4})(?=[\w.~+/=-]{1,200}?[A-Z\d])[\w.~+/=-]{10,4096}/g,
    source: 'https://www.rfc-editor.org/rfc/rfc6750',
  },
  {
    name: 'password in a URL',
    pattern: /(?<=\b[a-z][a-z0-9+.-]{1,15}:\/\/[^\s:@/"'\\]{0,64}:)(?![${<])[^\s:@/"'\\]{3,128}(?=@)/gi,
    source: 'https://www.rfc-editor.org/rfc/rfc3986',
    mask: '***',
  },
  {
    name: 'JSON Web Token',
    pattern: /(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}/g,
    source: 'https://www.rfc-editor.org/rfc/rfc7519',
  },
  {
    name: 'AWS access key id',
    pattern: /\b(?:AKIA|ASIA)[A-Z2-7]{16}\b/g,
    source: 'https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html',
  },
  {
    name: 'AWS secret access key',
    pattern:
      /(?<=aws_?secret_?access_?key[\\"']{0,3}\s{0,4}[=:]\s{0,4}[\\"']{0,3})[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])/gi,
    source: 'https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html',
  },
  {
    name: 'Azure storage account key',
    pattern: /(?<=\bAccountKey=)[A-Za-z0-9+/]{86}==/g,
    source: 'https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string',
  },
  {
    name: 'Google API key',
    pattern: /\bAIza[\w-]{35}(?![\w-])/g,
    source: 'https://cloud.google.com/docs/authentication/api-keys',
  },
  {
    name: 'Google OAuth secret or token',
    pattern: /\bGOCSPX-[\w-]{28}(?![\w-])|\bya29\.[\w-]{20,1000}/g,
    source: 'https://developers.google.com/identity/protocols/oauth2',
  },
  {
    name: 'GitHub token',
    pattern: /\bgh[pousr]_[A-Za-z0-9]{36,255}|\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}/g,
    source: 'https://github.blog/2021-04-05-behind-githubs-new-authentication-token-formats/',
  },
  {
    name: 'GitLab token',
    pattern: /\bgl(?:agent|cbt|dt|ft|imt|pat|ptt|rt|soat)-[\w-]{20,64}/g,
    source: 'https://docs.gitlab.com/security/tokens/',
  },
  {
    name: 'key that begins with sk-',
    pattern: /\bsk-(?=[\w-]{0,200}?\d)(?=[\w-]{0,200}?[A-Z])[\w-]{32,250}/g,
    source: 'https://platform.openai.com/docs/api-reference/authentication',
  },
  {
    name: 'Mem0 key',
    pattern: /\bm0(?:-|sk_)(?=[\w-]{0,200}?\d)[\w-]{24,250}/g,
    source: 'https://docs.mem0.ai/platform/quickstart',
  },
  {
    name: 'Hugging Face token',
    pattern: /\bhf_[A-Za-z0-9]{34}\b/g,
    source: 'https://huggingface.co/docs/hub/security-tokens',
  },
  {
    name: 'Slack token or webhook',
    pattern:
      /\bxox[abeoprs]-[A-Za-z0-9-]{10,250}|\bxapp-\d-[A-Za-z0-9-]{20,250}|\bhooks\.slack\.com\/services\/[A-Z0-9]{8,12}\/[A-Z0-9]{8,12}\/[A-Za-z0-9]{20,32}/g,
    source: 'https://api.slack.com/concepts/token-types',
  },
  {
    name: 'Stripe key',
    pattern: /\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,250}|\bwhsec_[A-Za-z0-9]{32,64}/g,
    source: 'https://docs.stripe.com/keys',
  },
  {
    name: 'npm token',
    pattern: /\bnpm_[A-Za-z0-9]{36}\b/g,
    source: 'https://github.blog/2021-09-23-announcing-npms-new-access-token-format/',
  },
  {
    name: 'PyPI token',
    pattern: /\bpypi-AgE[\w-]{50,500}/g,
    source: 'https://docs.pypi.org/api/secrets/',
  },
  {
    name: 'SendGrid key',
    pattern: /\bSG\.[\w-]{22}\.[\w-]{43}(?![\w-])/g,
    source: 'https://www.twilio.com/docs/sendgrid/ui/account-and-settings/api-keys',
  },
  {
    name: 'DigitalOcean token',
    pattern: /\bdo[opr]_v1_[a-f0-9]{64}\b/g,
    source: 'https://docs.digitalocean.com/reference/api/create-personal-access-token/',
  },
  {
    name: 'Telegram bot token',
    pattern: /\b\d{8,10}:AA[\w-]{33}(?![\w-])/g,
    source: 'https://core.telegram.org/bots/api#authorizing-your-bot',
  },
]

/** The text with every key that a pattern finds masked; the same text where there is none. */
export function redactText(text: string): string {
  if (text.length < MIN_SECRET_LENGTH) return text
  return SECRET_PATTERNS.reduce((rest, { pattern, mask = MASK }) => rest.replace(pattern, mask), text)
}

/** A JSON value with every string in it redacted; the same value where none changes. */
export function redactValue<T>(value: T): T {
  if (typeof value === 'string') return redactText(value) as T
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) {
    const items = value.map(redactValue)
    return items.some((item, index) => item !== value[index]) ? (items as T) : value
  }
  const entries = Object.entries(value)
  const redacted = entries.map(([name, item]) => [name, redactValue(item)] as const)
  // Of entries, so that a field called `__proto__` stays one.
  return redacted.some(([, item], index) => item !== entries[index]?.[1])
    ? (Object.fromEntries(redacted) as T)
    : value
}

/**
 * The data of a job as it may be persisted: a memory with its value and metadata redacted, anything else as it is.
 * @param data what keeps the contract, so that its nesting is bounded
 */
export function redactMemory<T extends object>(data: T, mode: RedactMode): T {
  if (mode === 'off') return data
  const { value, metadata }: Pick<MemoryInput, 'value' | 'metadata'> = data
  const redacted = { value: redactValue(value), metadata: redactValue(metadata) }
  if (redacted.value === value && redacted.metadata === metadata) return data
  return {
    ...data,
    ...(value === undefined ? {} : { value: redacted.value }),
    ...(metadata && { metadata: redacted.metadata }),
  }
}
