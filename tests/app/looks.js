// Every visible text (placeholders too) whose contrast is below 4.5 : 1, as "ratio text". Disabled controls may be
// pale. What lies on a picture is judged against white and black, the worst that can be below it.
function pale(least = 4.5) {
  const pen = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', {
    willReadFrequently: true,
  });
  const read = (colour) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below, share = 1) =>
    [0, 1, 2].map((i) => top[i] * top[3] * share + below[i] * (1 - top[3] * share));
  const light = (colour) => {
    const [r, g, b] = colour
      .map((v) => v / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const found = [];
  let judged = 0;
  const judge = (element, colour, text) => {
    if (element.closest(':disabled, [aria-disabled=true], [inert], [aria-hidden=true]')) return;
    const box = element.getBoundingClientRect();
    if (box.width < 3 || box.height < 3 || !element.checkVisibility({ visibilityProperty: true })) return;
    const inwards = [];
    for (let at = element; at; at = at.parentElement) inwards.unshift(at);
    const opacity = inwards.reduce((all, at) => all * +getComputedStyle(at).opacity, 1);
    if (opacity < 0.05) return;
    judged++;
    const onPicture = element.matches('.tag, .grown, .there small, .versions small');
    for (const worst of onPicture
      ? [
          [255, 255, 255],
          [0, 0, 0],
        ]
      : [null]) {
      let below = worst ?? [255, 255, 255];
      for (const at of worst ? [element] : inwards) below = over(read(getComputedStyle(at).backgroundColor), below);
      const value = ratio(over(read(colour), below, opacity), below);
      if (value < least)
        found.push(`${value.toFixed(2)} ${text.trim().slice(0, 40)} <${element.tagName} ${element.className}>`);
    }
  };
  const typed = 'input:not([type=range], [type=radio], [type=checkbox]), textarea';
  for (const element of document.querySelectorAll('body *')) {
    if (['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(element.tagName)) continue;
    const own = [...element.childNodes]
      .filter((node) => node.nodeType === 3)
      .map((node) => node.data)
      .join(' ');
    if (own.trim()) judge(element, getComputedStyle(element).color, own);
    if (!element.matches(typed)) continue;
    if (element.value) judge(element, getComputedStyle(element).color, element.value);
    else if (element.placeholder)
      judge(element, getComputedStyle(element, '::placeholder').color, element.placeholder);
  }
  return judged > 10 ? [...new Set(found)] : [`only ${judged} texts were found`];
}

// Controls that a screen reader could not name.
function nameless() {
  return [...document.querySelectorAll('button, input, select, textarea, a, summary, [role=button]')]
    .filter((e) => e.checkVisibility() && !e.closest('[inert]') && e.getBoundingClientRect().width > 2)
    .filter(
      (e) =>
        !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length || e.title || e.closest('label')),
    )
    .map((e) => e.outerHTML.slice(0, 120));
}

globalThis.looks = { pale, nameless };
