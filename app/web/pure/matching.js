// Which names fit what was typed. No browser needed.

/** Of [words, value] those whose words hold the text, the ones that begin with it first. */
export function matching(options, text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return options;
  const place = ([words]) => {
    const lowered = words.toLowerCase();
    const at = lowered.indexOf(wanted);
    if (at < 0) return 3;
    if (at === 0) return 0;
    return /[\s·,(]/.test(lowered[at - 1]) ? 1 : 2;
  };
  return options
    .map((option, index) => ({ option, index, rank: place(option) }))
    .filter(({ rank }) => rank < 3)
    .sort((a, b) => a.rank - b.rank || a.index - b.index)
    .map(({ option }) => option);
}
