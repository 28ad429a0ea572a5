//! A client's compose file: that of the repository, with folders of the client in place of Docker's volumes.

/// The file that the rules are kept in, and tested with.
const ORIGINAL: &str = include_str!("../../../../docker-compose.customization.yaml");

/// What is another in a client's folder.
const DIFFERENCES: [(&str, &str); 6] = [
    (
        "\n#\n#   cp .env.example .env    # then fill it in\n#   docker-compose -f docker-compose.customization.yaml up -d\n",
        "\n# Made by `mai-usage client`, which makes it anew: what is changed here is lost. All values are in .env.\n",
    ),
    // An image that is missing is an error here, and no reason to look for sources.
    ("    build: .\n", ""),
    // Folders beside this file, so that a backup of the client is a copy of its folder.
    ("      - usage-data:/data\n", "      - ./data:/data\n"),
    ("      - mai-data:/app/backend/data\n", "      - ./mai:/app/backend/data\n"),
    // On this host's loopback where a reverse proxy stands in front.
    ("\"${MAI_PORT:-8001}:8080\"", "\"${MAI_ADDRESS:-127.0.0.1}:${MAI_PORT:-8001}:8080\""),
    ("\nvolumes:\n  mai-data: {}\n  usage-data: {}\n", ""),
];

/// The text of a client's compose file, the same for all.
pub(super) fn file() -> String {
    DIFFERENCES.iter().fold(ORIGINAL.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// What the file takes for `name` where `.env` does not say.
pub(super) fn default_of(name: &str) -> Option<&'static str> {
    let begin = format!("${{{name}:-");
    let (_, rest) = ORIGINAL.split_once(&begin)?;
    rest.split_once('}').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_made_once() {
        for (from, _) in DIFFERENCES {
            assert_eq!(ORIGINAL.matches(from).count(), 1, "{from}");
        }
        let file = file();
        for gone in ["build:", "usage-data", "mai-data", "\nvolumes:", ".env.example .env"] {
            assert!(!file.contains(gone), "{gone}");
        }
    }

    #[test]
    fn the_rules_are_those_of_the_repository() {
        let (file, kept) = (file(), ORIGINAL.lines().filter(|line| !line.trim_start().starts_with('#')));
        let changed = |line: &&str| {
            DIFFERENCES.iter().any(|(from, _)| from.contains(line.trim()) || line.contains(from))
        };
        for line in kept.filter(|line| !line.trim().is_empty() && !changed(line)) {
            assert!(file.contains(line), "{line}");
        }
    }

    #[test]
    fn what_env_does_not_say_is_in_the_file() {
        assert_eq!(default_of("MAI_USAGE_IMAGE"), Some("mai-usage:latest"));
        assert!(default_of("MAI_IMAGE").unwrap().starts_with("ghcr.io/open-webui/open-webui:v"));
        assert_eq!(default_of("WEBUI_SECRET_KEY"), None);
    }
}
