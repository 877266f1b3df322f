//! Second looks at a match: checksums and structure, one function each. A rule names one in `validator`.

mod americas;
mod asia;
mod bank;
pub(crate) mod base58;
pub(crate) mod bech32;
pub(crate) mod coin;
mod east;
mod keccak;
mod net;
mod person;
mod south;
mod sums;
pub(crate) mod token;
mod west;

/// Declares the validators once: names, functions and what each checks.
macro_rules! validators {
    ($($variant:ident = $name:literal, $check:path, $meaning:literal;)+) => {
        /// A second look at a secret.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Validator { $(#[doc = $meaning] $variant),+ }

        impl Validator {
            /// Every validator.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name rules use.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it checks, in one line.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }

            /// Whether the text passes.
            #[must_use]
            pub fn check(self, text: &[u8]) -> bool {
                match self { $(Self::$variant => $check(text)),+ }
            }

            /// The validator of this name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

validators! {
    Luhn = "luhn", bank::luhn, "a card number: 12 to 19 digits, not all equal, with a right Luhn check digit";
    Iban = "iban97", bank::iban, "an IBAN: the country's length and a remainder of 1 modulo 97";
    Aba = "aba", bank::aba, "a US bank routing number: nine digits, a range in use, a right checksum";
    Ssn = "ssn", person::ssn, "a US social security number outside the ranges never issued";
    Nhs = "nhs", person::nhs, "a British NHS number: ten digits, a right check digit modulo 11";
    Verhoeff = "verhoeff", person::verhoeff, "a number with a right Verhoeff check digit (Aadhaar: twelve digits, not from 0 or 1)";
    DniEs = "dni_es", person::dni_es, "a Spanish DNI or NIE: the letter fits the number modulo 23";
    NinoUk = "nino_uk", person::nino_uk, "a British national insurance number with a prefix in use";
    PhoneE164 = "phone_e164", person::phone_e164, "an international phone number: a country code in use and 8 to 15 digits";
    Jwt = "jwt", token::jwt, "a JSON Web Token: the header decodes to a JSON object with an `alg`";
    GithubCrc = "crc32", token::github, "a token of GitHub's or npm's form whose last six characters are the base-62 CRC-32 of the random part";
    GitlabCrc = "gitlab_crc", token::gitlab, "a token of GitLab: of a routable one the last seven characters are the base-36 CRC-32 of the rest";
    GrafanaCrc = "grafana_crc", token::grafana, "a service account token of Grafana: the last eight characters are the CRC-32 of the rest";
    Btc = "btc", coin::btc, "a Bitcoin address: Base58Check or Bech32 with a right checksum";
    Base58Check = "base58check", base58::base58check, "an address or a key in Base58Check, of any coin that uses it: WIF, xprv, Litecoin, Dogecoin, Dash, Tron";
    Bech32 = "bech32", bech32::bech32, "a text in Bech32 or Bech32m with any readable part: segwit, Cosmos, Cardano, Nostr, age";
    Eth = "eth", coin::eth, "an Ethereum address: in mixed case the checksum of EIP-55 is right";
    Xmr = "xmr", coin::xmr, "a Monero address: Keccak-256 checksum";
    Xrp = "xrp", base58::xrp, "a classic address or a seed of the XRP ledger: Base58Check in its own alphabet";
    Stellar = "stellar", coin::stellar, "an account or a secret seed of Stellar: base 32 with a CRC-16";
    Solana = "solana", base58::solana, "an address of Solana: base 58 of 32 bytes (it has no checksum)";
    SolanaKeypair = "solana_keypair", coin::solana_keypair, "64 bytes as a list of numbers, as Solana's tools keep a key pair";
    LearnedInjection1 = "learned_injection_1", crate::learned::is_suspicious, "a text that reads like those written to instruct a model, by the weights of version 1";
    Ipv4Public = "ipv4_public", net::ipv4_public, "an IPv4 address that is public: not private, local, reserved or for documentation";
    Ipv4 = "ipv4", net::ipv4, "any IPv4 address";
    Ipv6Public = "ipv6_public", net::ipv6_public, "an IPv6 address that is public: of 2000::/3, not for documentation or tunnels";
    Ipv6 = "ipv6", net::ipv6, "any IPv6 address, also with a zone";
    Mac = "mac", net::mac, "a MAC address: twelve hex digits with one kind of sign between them, neither all zeros nor broadcast";
    Bic = "bic", bank::bic, "a SWIFT/BIC code: eight or eleven characters with a country in use";
    National = "national", is_national, "a number that passes one of the checks of those ids whose names have three letters (`cpf_br`, `bsn_nl`, `ssn` …)";
    ItinUs = "itin_us", americas::itin_us, "a US taxpayer id for those without a social security number, in a range in use";
    EinUs = "ein_us", americas::ein_us, "a US employer id with a prefix in use";
    NpiUs = "npi_us", americas::npi_us, "a US health provider id: Luhn with 80840 in front";
    DeaUs = "dea_us", americas::dea_us, "a US prescriber's DEA number: a kind in use, a right check digit";
    SinCa = "sin_ca", americas::sin_ca, "a Canadian social insurance number: nine digits, Luhn, not from 0 or 8 on";
    CpfBr = "cpf_br", americas::cpf_br, "a Brazilian CPF: eleven digits, the last two check the rest modulo 11";
    CnpjBr = "cnpj_br", americas::cnpj_br, "a Brazilian CNPJ, also with letters: the last two digits check the rest modulo 11";
    CurpMx = "curp_mx", americas::curp_mx, "a Mexican CURP: a right check digit";
    CuitAr = "cuit_ar", americas::cuit_ar, "an Argentine CUIT or CUIL: a prefix in use, a right check digit modulo 11";
    RutCl = "rut_cl", americas::rut_cl, "a Chilean RUT: a right check character modulo 11";
    NitCo = "nit_co", americas::nit_co, "a Colombian NIT: ten digits, a right check digit modulo 11";
    UtrUk = "utr_uk", west::utr_uk, "a British tax reference: ten digits, the first checks the rest modulo 11";
    PpsIe = "pps_ie", west::pps_ie, "an Irish PPS number: the letter fits the number modulo 23";
    SteueridDe = "steuerid_de", west::steuerid_de, "a German tax id: ISO 7064, one digit twice or three times";
    NirFr = "nir_fr", west::nir_fr, "a French social security number: fifteen digits, the key completes it to 97";
    CodiceFiscaleIt = "codice_fiscale_it", west::codice_fiscale_it, "an Italian fiscal code: the last letter checks the rest";
    BsnNl = "bsn_nl", west::bsn_nl, "a Dutch BSN: nine digits, weighted modulo 11";
    RijksregisterBe = "rijksregister_be", west::rijksregister_be, "a Belgian national number: a possible birthday, completed to 97";
    NifPt = "nif_pt", west::nif_pt, "a Portuguese NIF: nine digits, a right check digit modulo 11";
    AhvCh = "ahv_ch", west::ahv_ch, "a Swiss AHV number: thirteen digits from 756 on, a right check digit";
    SvnrAt = "svnr_at", west::svnr_at, "an Austrian social security number: a possible birthday, a right check digit modulo 11";
    PersonnummerSe = "personnummer_se", west::personnummer_se, "a Swedish personal number: a possible birthday, Luhn";
    FodselsnummerNo = "fodselsnummer_no", west::fodselsnummer_no, "a Norwegian birth number: a possible birthday, two check digits modulo 11";
    HetuFi = "hetu_fi", west::hetu_fi, "a Finnish personal code: a possible birthday, a right check character modulo 31";
    CprDk = "cpr_dk", west::cpr_dk, "a Danish CPR number: ten digits from a possible birthday on (there is no check digit any more)";
    KennitalaIs = "kennitala_is", west::kennitala_is, "an Icelandic id: a possible birthday, a right check digit modulo 11";
    PeselPl = "pesel_pl", east::pesel_pl, "a Polish PESEL: a possible birthday, a right check digit";
    NipPl = "nip_pl", east::nip_pl, "a Polish tax number: ten digits, a right check digit modulo 11";
    RodneCisloCz = "rodne_cislo_cz", east::rodne_cislo_cz, "a Czech or Slovak birth number: a possible birthday, a multiple of 11";
    CnpRo = "cnp_ro", east::cnp_ro, "a Romanian personal code: a possible birthday, a right check digit modulo 11";
    EgnBg = "egn_bg", east::egn_bg, "a Bulgarian civil number: a possible birthday, a right check digit modulo 11";
    OibHr = "oib_hr", east::oib_hr, "a Croatian OIB: eleven digits by ISO 7064";
    JmbgYu = "jmbg_yu", east::jmbg_yu, "a JMBG or EMŠO of the former Yugoslavia: a possible birthday, a right check digit modulo 11";
    IsikukoodEe = "isikukood_ee", east::isikukood_ee, "an Estonian or Lithuanian personal code: a possible birthday, a right check digit";
    AfmGr = "afm_gr", east::afm_gr, "a Greek tax number: nine digits, a right check digit modulo 11";
    TcknTr = "tckn_tr", east::tckn_tr, "a Turkish id: eleven digits, two right check digits";
    SnilsRu = "snils_ru", east::snils_ru, "a Russian pension number: modulo 101";
    InnRu = "inn_ru", east::inn_ru, "a Russian tax number of a person: twelve digits, two right check digits modulo 11";
    RnokppUa = "rnokpp_ua", east::rnokpp_ua, "a Ukrainian tax number of a person: ten digits, modulo 11";
    ResidentCn = "resident_cn", asia::resident_cn, "a Chinese resident id: a possible birthday, a right check character of ISO 7064";
    NationalTw = "national_tw", asia::national_tw, "a Taiwanese id: a letter and nine digits, modulo 10";
    IdentityHk = "identity_hk", asia::identity_hk, "a Hong Kong id: a right check character modulo 11";
    NricSg = "nric_sg", asia::nric_sg, "a Singaporean NRIC or FIN: the last letter fits the number modulo 11";
    NationalTh = "national_th", asia::national_th, "a Thai id: thirteen digits, a right check digit modulo 11";
    MyNumberJp = "my_number_jp", asia::my_number_jp, "a Japanese My Number: twelve digits, a right check digit modulo 11";
    ResidentKr = "resident_kr", asia::resident_kr, "a South Korean resident number: a possible birthday (there is no check digit any more)";
    NikId = "nik_id", asia::nik_id, "an Indonesian NIK: sixteen digits with a possible birthday";
    MykadMy = "mykad_my", asia::mykad_my, "a Malaysian MyKad number: a possible birthday and place of birth";
    GstinIn = "gstin_in", asia::gstin_in, "an Indian GSTIN: a state in use, a right check character modulo 36";
    TeudatZehutIl = "teudat_zehut_il", asia::teudat_zehut_il, "an Israeli id: nine digits, Luhn";
    TfnAu = "tfn_au", south::tfn_au, "an Australian tax file number: nine digits, modulo 11";
    AbnAu = "abn_au", south::abn_au, "an Australian business number: eleven digits, modulo 89";
    MedicareAu = "medicare_au", south::medicare_au, "an Australian Medicare number: a right check digit in the ninth place";
    IrdNz = "ird_nz", south::ird_nz, "a New Zealand tax number: in the range in use, a right check digit modulo 11";
    IdentityZa = "identity_za", south::identity_za, "a South African id: a possible birthday, a citizenship, Luhn";
}

/// The checks of numbers that are named by three letters only, which are no literal to look for: where a key is such a
/// name, any of them may be meant.
const THREE_LETTERS: &[Validator] = &[
    Validator::AbnAu,
    Validator::AfmGr,
    Validator::AhvCh,
    Validator::BsnNl,
    Validator::CnpRo,
    Validator::CpfBr,
    Validator::CprDk,
    Validator::DeaUs,
    Validator::DniEs,
    Validator::EgnBg,
    Validator::EinUs,
    Validator::FodselsnummerNo,
    Validator::InnRu,
    Validator::IrdNz,
    Validator::Nhs,
    Validator::NifPt,
    Validator::NikId,
    Validator::NipPl,
    Validator::NirFr,
    Validator::NitCo,
    Validator::NpiUs,
    Validator::OibHr,
    Validator::PpsIe,
    Validator::ResidentKr,
    Validator::RutCl,
    Validator::SinCa,
    Validator::Ssn,
    Validator::TfnAu,
    Validator::UtrUk,
];

/// Whether one of them passes.
fn is_national(text: &[u8]) -> bool {
    THREE_LETTERS.iter().any(|validator| validator.check(text))
}

/// Shannon entropy in bits a byte.
#[must_use]
pub fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "texts are far below 2^52 bytes")]
    let len = text.len() as f64;
    let mut bits = 0.0;
    for count in counts.into_iter().filter(|count| *count > 0) {
        let share = f64::from(count) / len;
        bits -= share * share.log2();
    }
    bits
}

/// The digits of a text that otherwise holds only separators; `None` when it holds something else or too many.
pub(crate) fn digits(text: &[u8]) -> Option<smallvec::SmallVec<[u8; 24]>> {
    let mut digits = smallvec::SmallVec::new();
    for byte in text {
        match byte {
            b'0'..=b'9' if digits.len() < 24 => digits.push(byte - b'0'),
            b' ' | b'-' | b'.' | b'/' | b'(' | b')' | b'+' | b'_' => {}
            _ => return None,
        }
    }
    Some(digits)
}

/// Asserts that a check takes some texts and leaves others.
#[cfg(test)]
fn vectors(check: fn(&[u8]) -> bool, right: &[&str], wrong: &[&str]) {
    for text in right {
        assert!(check(text.as_bytes()), "{text}");
    }
    for text in wrong {
        assert!(!check(text.as_bytes()), "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::{Validator, entropy};
    use proptest::prelude::*;

    proptest! {
        /// Whatever the bytes, and also where they look like what a check expects.
        #[test]
        fn every_check_returns(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "[0-9]{0,24}".prop_map(String::into_bytes),
                "[A-Z0-9]{0,20}".prop_map(String::into_bytes),
                "[1-9A-HJ-NP-Za-km-z]{0,120}".prop_map(String::into_bytes),
                "(0x)?[0-9a-fA-F]{0,40}".prop_map(String::into_bytes),
                "[a-z]{0,9}1[02-9ac-hj-np-z]{0,120}".prop_map(String::into_bytes),
                "[0-9]{1,3}(, ?[0-9]{1,3}){0,70}".prop_map(|l| format!("[{l}]").into_bytes()),
            ],
        ) {
            for validator in Validator::ALL {
                let _ = validator.check(&bytes);
            }
        }
    }

    #[test]
    fn entropy_counts_bits() {
        assert!((entropy(b"aaaa") - 0.0).abs() < 1e-9);
        assert!((entropy(b"abcd") - 2.0).abs() < 1e-9);
        assert!((entropy(b"") - 0.0).abs() < 1e-9);
    }

    #[test]
    fn names_are_found_and_nothing_panics_on_odd_texts() {
        for validator in Validator::ALL {
            assert_eq!(Validator::named(validator.as_str()), Some(*validator));
            for text in ["", "0", "é", "1.1", "....", "bc1", "1111", "GB", "\u{0}"] {
                assert!(!validator.check(text.as_bytes()), "{validator:?} {text:?}");
            }
        }
    }
}
