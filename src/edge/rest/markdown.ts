/**
 * The little of Markdown that our own pages of documentation use: headings, paragraphs, tables, blocks of code, `code`,
 * **strong** and links.
 * Everything is escaped before it is marked up, so that no text, whatever it holds, becomes an element or an attribute of its
 * own. What is not known stays as it is written.
 */

export interface MarkdownPage {
  /** Of the first heading; text, not HTML. */
  readonly title: string;
  readonly html: string;
}

/** @param link What a link leads to here; `undefined` leaves its text alone. */
export function renderMarkdown(text: string, link: (target: string) => string | undefined): MarkdownPage {
  // What stands between two fences, at every second place.
  const parts = text.replaceAll('\r\n', '\n').split(/^```[a-z]*\n([\s\S]*?)^```$/m);
  return {
    title: /^# (.+)$/m.exec(parts[0] ?? '')?.[1] ?? '',
    html: parts
      .flatMap((part, n) =>
        n % 2 === 0
          ? blocksOf(part).map((block) => renderBlock(block, link))
          : `<pre><code>${escapeHtml(part)}</code></pre>`,
      )
      .join('\n'),
  };
}

function blocksOf(text: string): string[] {
  return (
    text
      // A heading is a block of its own although no blank line follows it.
      .replace(/^(#{1,6} .+)$/gm, '\n$1\n')
      .split(/\n{2,}/)
      .map((block) => block.trim())
      .filter((block) => block !== '')
  );
}

/** The anchor of a heading: its words, as codes are written already. */
export function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^a-z0-9 -]/g, '')
    .trim()
    .replace(/ +/g, '-');
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => entities[sign] ?? '');
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

type Link = (target: string) => string | undefined;

function renderBlock(block: string, link: Link): string {
  const [, marks, heading] = /^(#{1,6}) (.+)$/.exec(block) ?? [];
  if (marks !== undefined && heading !== undefined) {
    const tag = `h${marks.length}`;
    return `<${tag} id="${escapeHtml(anchorOf(heading))}">${renderInline(heading, link)}</${tag}>`;
  }
  const rows = block.split('\n');
  if (rows.length > 2 && rows.every((row) => row.startsWith('|')) && /^[|:\- ]+$/.test(rows[1] ?? ''))
    return renderTable(rows, link);
  return `<p>${renderInline(rows.join(' '), link)}</p>`;
}

function renderTable([head = '', , ...body]: readonly string[], link: Link): string {
  const row = (text: string, tag: 'td' | 'th') => {
    const cells = text.replace(/^\||\|$/g, '').split('|');
    return `<tr>${cells.map((cell) => `<${tag}>${renderInline(cell.trim(), link)}</${tag}>`).join('')}</tr>`;
  };
  return `<table><thead>${row(head, 'th')}</thead><tbody>${body.map((text) => row(text, 'td')).join('')}</tbody></table>`;
}

/** Code first: what stands in it is not looked at again. */
function renderInline(text: string, link: Link): string {
  return text
    .split(/(`[^`]+`)/)
    .map((part) => (/^`[^`]+`$/.test(part) ? `<code>${escapeHtml(part.slice(1, -1))}</code>` : renderText(part, link)))
    .join('');
}

function renderText(text: string, link: Link): string {
  return text
    .split(/(\[[^\][]+\]\([^()\s]+\))/)
    .map((part) => {
      const [, shown, target] = /^\[([^\][]+)\]\(([^()\s]+)\)$/.exec(part) ?? [];
      if (shown === undefined || target === undefined) return strong(escapeHtml(part));
      const href = link(target);
      return href === undefined ? escapeHtml(shown) : `<a href="${escapeHtml(href)}">${escapeHtml(shown)}</a>`;
    })
    .join('');
}

function strong(escaped: string): string {
  return escaped.replace(/\*\*([^*]+)\*\*/g, '<strong>$1</strong>');
}
